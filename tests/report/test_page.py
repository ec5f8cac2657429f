"""The page: data are escaped, and every cell says its heading where rows are shown as blocks."""

import pandas as pd

from alliance_stats.report.page import Section, page


def test_data_are_escaped_on_the_page():
    section = Section("x", "<h>")
    section.paragraph("a < b & c")
    section.table(pd.DataFrame({"<c>": ["<script>"]}), "<caption>", labels={"<c>": "<head>"})
    section.notes(["<note>"])
    section.tiles({"<name>": "<value>"})
    section.folded("<summary>", "<text>")
    section.figure(b"<svg/>", "<caption>", alt='"quoted"', file="<file>")
    text = page("<title>", "<lead>", [section])
    for name in ("h", "c", "script", "caption", "head", "note", "name", "value", "summary", "text", "title", "lead"):
        body = text.split("</style>")[1]
        assert f"<{name}>" not in body.replace("<caption>&lt;", "").replace("<summary>&lt;", "").replace("<head>", "")
    assert 'alt="&quot;quoted&quot;"' in text


def test_cells_carry_their_headings_for_narrow_screens():
    section = Section("x", "heading")
    table = pd.DataFrame({"term": ["session"], "ci_low": [-0.4], "ci_high": [0.25], "p_value": [0.0321]})
    section.table(table, "Terms.", labels={"term": "", ("ci_low", "ci_high"): "95% CI", "p_value": "p"})
    assert '<td>session</td><td class="n" data-label="95% CI">[−0.40, 0.25]</td>' in section.blocks[0]
    assert '<td class="n" data-label="p">.032</td>' in section.blocks[0]
