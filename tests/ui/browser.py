"""Pages of Airflow's UI in Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.ui.runs import DAGS

if TYPE_CHECKING:
    from pathlib import Path

#: Milliseconds until something must be seen, on a busy machine.
PATIENCE = 90_000

#: An error of Airflow 3.2's own grid as runs begin and end: it aborts a stream, and does not catch what comes of it.
_OF_THE_GRID = "signal is aborted without reason"

#: Keeps when the tab's script began to load, and when there was a picture, by the page's clock.
_CLOCK = """
new MutationObserver(() => {
  if (window.pictured === undefined && document.querySelector(".airflow-joblib .aj-timeline")) {
    requestAnimationFrame(() => setTimeout(() => { window.pictured ??= performance.now(); }));
  }
}).observe(document, {childList: true, subtree: true});
"""


def sign_in(browser: Any, url: str) -> Any:
    """Return what a browser keeps of a user, who need not sign in again: Airflow 3.1 forgets where one was going."""
    context = browser.new_context()
    page = context.new_page()
    with page.expect_response(lambda answer: "/ui/auth/menus" in answer.url and answer.ok, timeout=PATIENCE):
        page.goto(f"{url}/", timeout=PATIENCE)
    state = context.storage_state()
    context.close()
    return state


class Tabs:
    """Opens tabs of task instances, each in a browser that has nothing but its user.

    Attributes:
        errors: What the consoles of all pages have shown as errors.
        origins: Whom the pages have asked, by scheme, host and port.
        pictures: Folder of the screenshots.
    """

    def __init__(self, browser: Any, url: str, user: Any, pictures: Path) -> None:
        self._browser = browser
        self._url = url
        self._user = user
        self.pictures = pictures
        self._contexts: list[Any] = []
        self.errors: list[str] = []
        self.origins: set[str] = set()

    def open(self, name: str, run_id: str, *, dark: bool = False, map_index: int = -1, route: Any = None) -> Any:
        """Open the tab of the task in a run, by the name it has in `runs.RECORDS`, and return its page."""
        page = self.page(dark=dark)
        if route is not None:
            page.route(route[0], route[1])
        mapped = "" if map_index < 0 else f"/mapped/{map_index}"
        page.goto(f"{self._url}/dags/{DAGS.get(name, 'shown')}/runs/{run_id}/tasks/thumbnail{mapped}/plugin/fan-out")
        page.wait_for_selector(".airflow-joblib h2", timeout=PATIENCE)
        return page

    def page(self, *, dark: bool = False) -> Any:
        """Return an empty page."""
        context = self._browser.new_context(
            color_scheme="dark" if dark else "light",
            viewport={"width": 1440, "height": 1500},
            accept_downloads=True,
            storage_state=self._user,
        )
        context.set_default_timeout(PATIENCE)
        context.on("request", self._asked)  # of every page, those that a link opens too
        self._contexts.append(context)
        page = context.new_page()
        page.add_init_script(_CLOCK)
        page.on("console", self._heard)
        page.on("pageerror", self._failed)
        return page

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _failed(self, error: Any) -> None:
        if _OF_THE_GRID not in str(error):
            self.errors.append(str(error))

    def _asked(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data"):  # what the page has made itself
            self.origins.add(f"{parts.scheme}://{parts.netloc}")

    def picture(self, page: Any, name: str) -> None:
        """Keep what the page looks like."""
        page.wait_for_timeout(500)  # a transition of the bar
        page.screenshot(path=self.pictures / f"{name}.png")

    def close(self) -> None:
        """Close every page."""
        for context in self._contexts:
            context.close()
