"""The pages in a real Chromium: nothing complained of, nothing loaded, nothing too wide, everything works."""

import pytest
from support.report_pages import MadeRun, finished_run, measurement

from ptspec.evaluation.paired.compare import compare
from ptspec.report.html.write import write_comparison_report, write_run_report

pytestmark = pytest.mark.slow

SETTLE = "new Promise(done => setTimeout(done, 150))"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_run_report(finished_run(tmp_path_factory.mktemp("report") / "made"))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    measured = [measurement("a"), measurement("b", better=0.9)]
    return write_comparison_report(
        compare(measured, by="topic"), measured, tmp_path_factory.mktemp("compared"), "pt eval"
    )


@pytest.fixture
def opened(browser, report):
    browser.complaints.clear()
    browser.open(report, 1000)
    browser.run(SETTLE)
    yield browser
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("which", ["report", "comparison"])
def test_no_complaint_and_no_sideways_scrolling(browser, request, which, width, dark):
    browser.complaints.clear()
    browser.open(request.getfixturevalue(which), width, dark=dark)
    browser.run(SETTLE)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.run(SETTLE)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") == width
    # Nothing of the text is cut off at the edge either.
    wide = """[...document.querySelectorAll('main *, header *')].filter(e => {
        const box = e.getBoundingClientRect();
        const apart = e.closest('.unseen, thead, .scroll > *');
        return box.width && !apart && (box.right > innerWidth + 1 || box.left < -1);
    }).map(e => e.outerHTML.slice(0, 80))"""
    assert browser.run(wide) == []
    boxes = "[...document.querySelectorAll('.scroll')].map(e => getComputedStyle(e).overflowX)"
    assert set(browser.run(boxes)) <= {"auto"}
    assert browser.run("window.hacked === undefined && document.title.length > 0")


def test_text_has_contrast_in_both_themes(browser, report):
    """WCAG AA: 4.5 to 1, of every colour that text is set in against the page."""
    script = """(() => {
        const light = (c) => { const [r, g, b] = c.match(/\\d+/g).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const under = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
            if (!c.endsWith(', 0)')) return c; } };
        const told = [...document.querySelectorAll('main *, header *, footer *')].filter(e => e.innerText);
        return told.map(e => {
            const a = light(getComputedStyle(e).color), b = light(under(e));
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }).reduce((x, y) => Math.min(x, y));
    })()"""
    for dark in (False, True):
        browser.open(report, 1000, dark=dark)
        assert browser.run(script) >= 4.5


def test_the_theme_can_be_chosen(opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    light = opened.run(colour)
    seen = []
    for _ in range(3):
        opened.run("document.getElementById('theme').click()")
        seen.append((opened.run("document.getElementById('theme').textContent"), opened.run(colour) == light))
    assert seen == [("Theme: light", True), ("Theme: dark", False), ("Theme: auto", True)]


def test_curves_are_drawn_and_answer_to_pointer_keys_smoothing_and_log(opened):
    assert opened.run("document.querySelectorAll('.charts > .chart svg').length") == 4
    line = "document.querySelector('.chart .line').getAttribute('d')"
    before = opened.run(line)
    assert before.count("L") == 29 and "NaN" not in before
    opened.run("(s => { s.value = 0.95; s.dispatchEvent(new Event('input', {bubbles: true})); })(smooth)")
    smooth = opened.run(line)
    assert smooth != before and opened.run("smoothness.textContent") == "0.95"
    opened.run("log.click()")
    assert opened.run(line) not in (before, smooth) and "NaN" not in opened.run(line)
    svg, readout = (
        "document.querySelector('.chart svg')",
        "document.querySelector('.chart output').textContent",
    )
    opened.run(f"{svg}.focus()")
    assert opened.run(readout).startswith("step 30 · 0.06667")
    press = f"{svg}.dispatchEvent(new KeyboardEvent('keydown', {{key: '%s', bubbles: true}}))"
    opened.run(press % "Home")
    assert opened.run(readout).startswith("step 1 · 2")
    opened.run(press % "ArrowRight")
    assert opened.run(f"{svg}.getAttribute('aria-valuetext')") == "step 2, 1"
    opened.run("document.querySelector('.chart').scrollIntoView({block: 'start', behavior: 'instant'})")
    opened.run(SETTLE)
    x, y = opened.run(f"(r => [r.left + r.width * 0.6, r.top + 60])({svg}.getBoundingClientRect())")
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert opened.run(readout).split(" · ")[0] in ("step 16", "step 17", "step 18")


SHOWN = """[...document.querySelectorAll('#samples article')]
    .map(article => Number(article.getAttribute('aria-label').slice('Prompt '.length)))"""


def choose(page, control, value):
    page.run(
        f"(c => {{ c.value = '{value}'; c.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
        f"(document.getElementById('{control}'))"
    )
    return page.run(SHOWN)


def test_samples_are_searched_filtered_ordered_and_shown_in_parts(opened):
    rows = {name: measurement(name, better=b).rows for name, b in (("base", 0), ("sft", 0.3), ("dpo", 0.9))}
    said = [[row.response for row in rows[name]] for name in ("sft", "dpo")]
    differ = [i for i, (a, b) in enumerate(zip(*said, strict=True), 1) if a != b]
    first = [*differ, *(i for i in range(1, 41) if i not in differ)]
    assert opened.run(SHOWN) == first[:5]  # a few, as the checks stand below
    assert choose(opened, "order", "") == list(range(1, 6))
    opened.run("more.click()")
    assert opened.run(SHOWN) == list(range(1, 26))
    opened.run("more.click()")
    assert opened.run(SHOWN) == list(range(1, 41)) and opened.run("more.hidden")
    assert choose(opened, "find", "PROMPT 17") == [18]
    assert choose(opened, "find", "no such text") == []
    assert opened.run("shown.textContent") == "No prompt fits."
    choose(opened, "find", "")
    right = [i for i, row in enumerate(rows["dpo"], 1) if row.correct]
    assert choose(opened, "result", "right") == right[:5]
    gained = [
        i
        for i, (a, b) in enumerate(zip(rows["sft"], rows["dpo"], strict=True), 1)
        if b.correct and not a.correct
    ]
    assert choose(opened, "result", "gained") == gained[:5]
    choose(opened, "result", "")
    assert opened.run("[...slice.options].map(o => o.text)") == ["all", "topic: <i>pets</i>", "topic: towns"]
    assert choose(opened, "slice", "topic: towns") == list(range(2, 11, 2))
    choose(opened, "slice", "")
    choose(opened, "from", "0")
    by_length = opened.run("[...order.options].findIndex(o => o.text.includes('bits'))")
    ordered = choose(opened, "order", opened.run(f"order.options[{by_length}].value"))
    change = [abs(b.nll - a.nll) for a, b in zip(rows["base"], rows["dpo"], strict=True)]
    assert [round(change[i - 1], 6) for i in ordered] == [
        round(c, 6) for c in sorted(change, reverse=True)[:5]
    ]


def test_it_prints_light_and_without_controls(browser, report):
    browser.open(report, 1000, dark=True)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.getElementById('theme')).display") == "none"
    assert browser.call("Page.printToPDF")["data"]
    browser.call("Emulation.setEmulatedMedia", media="")


def test_a_keyboard_reaches_the_content_first(opened):
    opened.run("document.body.focus()")
    press = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
    opened.call("Input.dispatchKeyEvent", type="keyDown", **press)
    assert opened.run("document.activeElement.className") == "skip"
    assert opened.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    run = MadeRun(tmp_path_factory.mktemp("many") / "made")
    run.base(measurement("base", 20))
    run.stage("sft", "sft", measurement("sft", 20, better=0.3, reference="base"))
    for index in range(1, 12):
        measured = measurement(f"dpo_{index}", 20, better=0.05 * index, reference="sft")
        run.stage(f"dpo_{index}", "dpo", measured, parent="sft")
    run.start()
    return write_run_report(run.write())


@pytest.mark.parametrize("width", [390, 1440])
def test_twelve_stages_stay_in_the_page(browser, many, width):
    """B11: the table left the page to the right; now it scrolls in its box, its first column in sight."""
    browser.complaints.clear()
    browser.open(many, width)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.run(SETTLE)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") == width
    for index in range(browser.run("document.querySelectorAll('.scroll').length")):
        box = f"document.querySelectorAll('.scroll')[{index}]"
        browser.run(f"{box}.scrollLeft = 10000")
        assert browser.run(f"{box}.getBoundingClientRect().right <= innerWidth")
        left = "getBoundingClientRect().left"
        assert abs(browser.run(f"{box}.querySelector('tbody th').{left} - {box}.{left}")) < 1


def test_a_click_on_a_head_sorts_the_policies(browser, many):
    browser.open(many, 1440)
    names = (
        "[...document.querySelectorAll('table.lines')[0].tBodies[0].rows].map(r => r.cells[0].textContent)"
    )
    values = (
        "[...document.querySelectorAll('table.lines')[0].tBodies[0].rows]"
        ".map(r => Number(r.cells[1].querySelector('data').value))"
    )
    before, found = browser.run(names), browser.run(values)
    head = "document.querySelectorAll('table.lines')[0].tHead.rows[0].cells[1]"
    for turn, wanted in (("descending", sorted(found, reverse=True)), ("ascending", sorted(found))):
        browser.run(f"{head}.querySelector('button').click()")
        assert browser.run(f"{head}.getAttribute('aria-sort')") == turn
        assert browser.run(values) == wanted
    browser.run(f"{head}.querySelector('button').click()")
    assert browser.run(names) == before


def test_of_many_policies_the_two_that_are_chosen_answer(browser, many):
    browser.open(many, 1440)
    seen = (
        "[...document.querySelector('#samples article').querySelectorAll('.reply')]"
        ".filter(r => r.offsetWidth).map(r => r.getAttribute('aria-label'))"
    )
    assert browser.run(seen) == ["sft", "dpo_11"]  # the last one and the one it came from
    choose(browser, "from", "0")
    assert browser.run(seen) == ["base", "dpo_11"]
    browser.run("everyone.click()")
    assert len(browser.run(seen)) == 13


def test_an_overlay_has_a_line_a_stage_and_names_it(browser, many):
    browser.open(many, 1440)
    browser.run(SETTLE)
    assert browser.run("document.querySelectorAll('.overlay').length") == 1
    assert browser.run("document.querySelectorAll('.overlay .plot path.many').length") == 11
    assert browser.run(
        "[...document.querySelectorAll('.overlay path.many')].every(p => !/NaN/.test(p.getAttribute('d')))"
    )
    browser.run("document.querySelector('.overlay svg').focus()")
    assert browser.run("document.querySelector('.overlay output').textContent").startswith("dpo_1 · step 30")
    key = "new KeyboardEvent('keydown', {key: 'ArrowDown', bubbles: true})"
    browser.run(f"document.querySelector('.overlay svg').dispatchEvent({key})")
    assert browser.run("document.querySelector('.overlay output').textContent").startswith("dpo_2 ·")
    assert browser.run("document.querySelectorAll('.overlay path.chosen').length") == 1
