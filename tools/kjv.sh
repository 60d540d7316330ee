#!/bin/sh
# Writes the King James Bible, a verse a line: 4,404,412 characters in the public domain.
#
#     tools/kjv.sh [FILE]        kjv.txt, if nothing is said; `make kjv.txt` does the same
#
# The text comes from two Debian packages, which are downloaded and unpacked in a temporary folder, not installed.
set -eu
out=${1:-kjv.txt}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(
    cd "$work"
    apt-get download bible-kjv bible-kjv-text
    for package in *.deb; do dpkg -x "$package" .; done
) >&2
env -u COLUMNS "$work/usr/bin/bible" -p "$work/usr/lib" -f gen1:1-rev22:21 > "$work/kjv.txt"
echo "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d  $work/kjv.txt" | sha256sum --check --quiet
mv "$work/kjv.txt" "$out"
