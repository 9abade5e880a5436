"""A run's folder in the making, and a browser, for the tests of the HTML report."""

import pytest
from support.browser import CHROMIUM, Browser
from support.report_pages import MadeRun


@pytest.fixture
def made(tmp_path) -> MadeRun:
    return MadeRun(tmp_path / "made")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("NOT TESTED IN A BROWSER: no chromium here; on Debian: apt-get install chromium")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
