"""The document as HTML and as Markdown: the same content, escaped, and nothing from elsewhere."""

import base64
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from hyperskin.reporting.document import Bullets, Document, Drawing, Grid, Line, Section, Span, line
from hyperskin.reporting.html import to_html
from hyperskin.reporting.markdown import to_markdown

EVIL = '<b>&"x"|`*_a_ [l](u)'


class Reader(HTMLParser):
    """Checks that tags nest, and gathers text, ids, links and sources."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.ids, self.links, self.sources, self.tags = [], "", [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.sources += [values["src"]] if "src" in values else []
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "img":  # which Markdown closes in itself
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def _document(*blocks):
    return Document(
        f"page {EVIL}", (line("about ", Span(EVIL, style="code")),), (Section(f"part {EVIL}", "part", blocks),)
    )


def _grid(**changes):
    fields = {
        "caption": f"caption {EVIL}",
        "heading": ("model", f"a {EVIL}", "b"),
        "rows": ((Span("m_n", style="emphasis", anchor="part"), Span("0.5", "0.1", "strong"), EVIL),),
        "over": (("", 1), ("both", 2)),
        "anchors": ("run-1",),
    }
    return Grid(**{**fields, **changes})


def _drawing():
    return Drawing("curve", Figure(), f"alt {EVIL}", f"below {EVIL}")


def test_text_is_data_in_html():
    reader = Reader(to_html(_document(_grid(), line(EVIL), _drawing()), {"curve": ("curve.svg", b"<svg/>")}))
    assert not reader.open
    assert "b" not in [tag for tag, _ in reader.tags]
    for text in ("page ", "part ", "caption ", "a ", "below "):
        assert text + EVIL in reader.text
    assert [values["alt"] for tag, values in reader.tags if tag == "img"] == [f"alt {EVIL}"]


def test_text_is_data_in_markdown():
    """A reader of Markdown finds the very words in it, and no tag but our anchors."""
    markdown_it = pytest.importorskip("markdown_it")
    reader = markdown_it.MarkdownIt("commonmark").enable("table")
    text = to_markdown(_document(_grid(), line(EVIL), _drawing()), {"curve": "report/curve.svg"})
    inline = [child for token in reader.parse(text) for child in token.children or ()]
    assert {token.content for token in inline if token.type == "html_inline"} <= {
        '<a id="run-1">',
        "</a>",
        '<a id="part">',
    }
    page = Reader(reader.render(text))
    for words in ("page ", "part ", "about ", "caption ", "both: a ", "below "):
        assert words + EVIL in page.text
    assert page.sources == ["report/curve.svg"]
    assert len([tag for tag, _ in page.tags if tag == "td"]) == 3


def test_names_of_models_stay_readable_in_markdown():
    assert "mst_plus_plus (stages 1)" in to_markdown(_document(line("mst_plus_plus (stages 1)")), {})


def test_a_markdown_table_has_as_many_cells_in_every_line():
    text = to_markdown(_document(_grid(heading=("model", "a|b", "c"))), {})
    lines = [re.sub(r"\\\|", "", each) for each in text.splitlines() if each.startswith("|")]
    assert {each.count("|") for each in lines} == {4}
    assert "both: a\\|b" in text


def test_page_loads_nothing_and_runs_nothing():
    reader = Reader(to_html(_document(_drawing()), {"curve": ("curve.svg", b"<svg/>")}))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
    assert reader.sources == [f"data:image/svg+xml;base64,{base64.b64encode(b'<svg/>').decode()}"]
    assert all(link.startswith("#") for link in reader.links)
    policy = next(values["content"] for tag, values in reader.tags if values.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_headings_say_what_they_head():
    reader = Reader(to_html(_document(_grid()), {}))
    scopes = [values.get("scope") for tag, values in reader.tags if tag == "th"]
    assert scopes == ["colgroup", "col", "col", "col", "row"]
    assert ("tr", {"id": "run-1"}) in reader.tags
    assert "0.5 ± 0.1" in reader.text


def test_a_long_name_may_break_and_its_address_may_not():
    page = to_html(_document(_grid(rows=((Span("m_n", anchor="a_b"), "", ""),))), {})
    assert '<a href="#a_b">m_<wbr>n</a>' in page


def test_both_say_the_same():
    document = _document(_grid(), line("one line"), Bullets((Line(("item",)),)))
    page, text = Reader(to_html(document, {})).text, to_markdown(document, {})
    for words in ("one line", "item", "0.5 ± 0.1", "both"):
        assert words in page
        assert words in text


@pytest.mark.parametrize("code", ["a`b", "plain", "``"])
def test_code_in_markdown_is_fenced_by_more_than_it_holds(code):
    markdown_it = pytest.importorskip("markdown_it")
    text = to_markdown(_document(line(Span(code, style="code"))), {})
    tokens = [child for token in markdown_it.MarkdownIt().parse(text) for child in token.children or ()]
    assert [token.content for token in tokens if token.type == "code_inline"] == [EVIL, code]
