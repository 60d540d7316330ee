# Triptych for CPUs, with its weights: docker build -t triptych . && docker run -v $PWD:/work triptych gallery
# For GPUs, begin with an image that has torch for them, and leave the line of torch out.
FROM python:3.11-slim
RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu
COPY . /src
RUN pip install --no-cache-dir /src && rm -rf /src
WORKDIR /work
ENTRYPOINT ["triptych"]
CMD ["--help"]
