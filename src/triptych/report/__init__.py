"""Reports: pictures, charts, comparison tables, model cards, and one HTML file that holds them all."""

from triptych.media.pictures import cells, gif, grid, save_png, scatter, strip, to_data_uri
from triptych.report import html
from triptych.report.card import Card, model_card
from triptych.report.charts import Chart, Series
from triptych.report.html import render, write
from triptych.report.page import Fact, Figure, Link, ModelSection, Page, Plate, Strip
from triptych.report.tables import (
    NO_LIKELIHOOD,
    Cell,
    Flat,
    Histogram,
    MeanLikelihood,
    Quantity,
    Row,
    Table,
    flat,
    markdown,
)

__all__ = [
    "NO_LIKELIHOOD",
    "Card",
    "Cell",
    "Chart",
    "Fact",
    "Figure",
    "Flat",
    "Histogram",
    "Link",
    "MeanLikelihood",
    "ModelSection",
    "Page",
    "Plate",
    "Quantity",
    "Row",
    "Series",
    "Strip",
    "Table",
    "cells",
    "flat",
    "gif",
    "grid",
    "html",
    "markdown",
    "model_card",
    "render",
    "save_png",
    "scatter",
    "strip",
    "to_data_uri",
    "write",
]
