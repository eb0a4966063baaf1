"""What a user does in ComfyUI's front end."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

WAIT = 60_000
"""Milliseconds for anything: a server on a loaded machine is slow."""


def is_saved_file(answer, name: str) -> bool:
    """Whether an answer is the server's to a workflow sent to be kept under a name."""
    return answer.request.method == "POST" and unquote(answer.url.split("?")[0]).endswith(f"/workflows/{name}.json")


class ComfyPage:
    """The front end in one browser window; ``look`` is ``classic`` or ``vue``."""

    def __init__(self, page, server, look: str, screenshots: Path | None):
        self.page, self.server, self.look, self.screenshots = page, server, look, screenshots
        page.set_default_timeout(WAIT)
        # no banner that offers the other look
        page.add_init_script("localStorage.setItem('vueNodesBannerDismissed', 'true')")
        self.reload()

    def reload(self) -> None:
        """Open the front end, anew if it is open."""
        self.page.goto(self.server.url)
        self.page.get_by_test_id("queue-button").wait_for()

    def open_template(self, pack: str, name: str) -> None:
        """From the template browser."""
        self.browse_templates(pack)
        self.page.get_by_role("dialog").get_by_placeholder("Search").fill(name)
        self.page.get_by_test_id(f"template-workflow-{name}").click()
        self.page.wait_for_function("app.graph.nodes.some(node => node.type.startsWith('CATPruning'))")

    def browse_templates(self, pack: str) -> None:
        """Open the template browser at a pack's templates."""
        self.page.get_by_role("button", name="Templates").first.click()
        self.page.get_by_role("dialog").get_by_text(pack, exact=True).click()

    def open_file(self, path: Path) -> None:
        """Load a workflow file."""
        self.page.evaluate("workflow => app.loadGraphData(workflow)", json.loads(path.read_text(encoding="utf-8")))
        self.page.wait_for_function("app.graph.nodes.some(node => node.type.startsWith('CATPruning'))")

    def number(self, kind: str) -> int:
        """Number of the one node of a type."""
        (found,) = self.page.evaluate("kind => app.graph.nodes.filter(n => n.type == kind).map(n => n.id)", kind)
        return found

    def set(self, kind: str, **values: Any) -> None:
        """Set widgets past the interface: for what a test does not look at."""
        self.page.evaluate(
            """([number, values]) => {
                for (const widget of app.graph.getNodeById(number).widgets)
                    if (widget.name in values) widget.value = values[widget.name];
            }""",
            [self.number(kind), values],
        )

    def select(self, kind: str) -> None:
        """Select the one node of a type."""
        self.look_at(kind)
        self.page.evaluate("n => app.canvas.selectItems([app.graph.getNodeById(n)])", self.number(kind))

    def drawn(self) -> None:
        """Wait until what was changed is drawn."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def look_at(self, kind: str, scale: float = 1.0) -> None:
        """Move the canvas so that the one node of a type stands at its left edge."""
        self.page.evaluate(
            """([number, scale]) => {
                const node = app.graph.getNodeById(number), view = app.canvas.ds;
                view.scale = scale;
                view.offset = [120 / scale - node.pos[0], 220 / scale - node.pos[1]];
                app.canvas.setDirty(true, true);
            }""",
            [self.number(kind), scale],
        )
        self.drawn()

    def look_at_all(self) -> None:
        """Move the canvas over the whole graph."""
        self.page.evaluate(
            """() => {
                const frames = app.graph.nodes.map(node => node.boundingRect);
                const [left, top] = [0, 1].map(i => Math.min(...frames.map(frame => frame[i])));
                const [right, low] = [0, 1].map(i => Math.max(...frames.map(frame => frame[i] + frame[i + 2])));
                app.canvas.ds.fitToBounds([left, top, right - left, low - top], {zoom: 0.9});
                app.canvas.setDirty(true, true);
            }"""
        )
        self.drawn()

    def type_number(self, kind: str, widget: str, value: float) -> None:
        """Change a number as a user does."""
        number = self.number(kind)
        if self.look == "vue":
            field = self.page.locator(f'[data-node-id="{number}"]').get_by_label(widget).get_by_role("spinbutton")
            field.press("ControlOrMeta+a")
            field.press_sequentially(str(value))
            field.press("Tab")
            return
        place = self.page.evaluate(
            """([number, name]) => {
                const node = app.graph.getNodeById(number);
                const widget = node.widgets.find(one => one.name == name);
                const frame = app.canvas.canvas.getBoundingClientRect();
                const middle = [node.pos[0] + node.size[0] - 80, node.pos[1] + widget.last_y + 10];
                const [x, y] = app.canvas.ds.convertOffsetToCanvas(middle);
                return [x + frame.left, y + frame.top];
            }""",
            [number, widget],
        )
        self.page.mouse.dblclick(*place)
        self.page.locator(".graphdialog input").fill(str(value))
        self.page.keyboard.press("Enter")

    def link(self, source: str, output: int, target: str, slot: int) -> None:
        """Drag a link from an output of the one node of a type to an input of another."""
        start, end = self.page.evaluate(
            """([from, output, to, slot]) => {
                const frame = app.canvas.canvas.getBoundingClientRect();
                const on_screen = place => {
                    const [x, y] = app.canvas.ds.convertOffsetToCanvas(place);
                    return [x + frame.left, y + frame.top];
                };
                const [one, other] = [from, to].map(number => app.graph.getNodeById(number));
                return [on_screen(one.getOutputPos(output)), on_screen(other.getInputPos(slot))];
            }""",
            [self.number(source), output, self.number(target), slot],
        )
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=10)
        self.page.mouse.up()
        self.drawn()

    def run(self) -> None:
        """Press the button, and wait until the run has ended well."""
        self.start()
        self.finish()

    def start(self) -> None:
        """Press the button."""
        self.page.evaluate(
            """() => {
                window.ended = false;
                app.api.addEventListener("execution_success", () => { window.ended = true; }, {once: true});
            }"""
        )
        self.page.get_by_test_id("queue-button").click()

    def finish(self) -> None:
        """Wait until the front end has heard that the run has ended well."""
        self.page.wait_for_function("window.ended", timeout=10 * WAIT)
        self.drawn()

    def interrupt(self) -> None:
        """Press the button that stops what runs."""
        self.page.get_by_role("button", name="Cancel current run").first.click()

    def listen(self, number: int) -> None:
        """Collect what a node says from now on, see :meth:`said`."""
        self.page.evaluate(
            """number => {
                const said = window.said = [];
                new MutationObserver(() => {
                    const box = document.querySelector(`[data-testid=cat-pruning-lines-${number}]`);
                    if (box && box.textContent != said.at(-1)) said.push(box.textContent);
                }).observe(document.body, {subtree: true, childList: true, characterData: true});
            }""",
            number,
        )

    def said(self, until: str) -> list[str]:
        """All that the node of :meth:`listen` said so far, when it has said these words."""
        self.page.wait_for_function("words => window.said.at(-1)?.includes(words)", arg=until, timeout=10 * WAIT)
        return self.page.evaluate("window.said")

    def output(self, kind: str) -> dict[str, Any]:
        """What a node's last run gave to the interface."""
        return self.page.evaluate("number => app.nodeOutputs[number]", self.number(kind))

    def shown_text(self, kind: str) -> str:
        """The lines that stand on the one node of a type."""
        return self.lines_of(self.number(kind))

    def lines_of(self, number: int) -> str:
        """The lines that stand on a node."""
        (text,) = self.page.get_by_test_id(f"cat-pruning-lines-{number}").all_inner_texts()
        return text

    def wait_for_picture(self, number: int) -> None:
        """Wait until a node shows one picture."""
        of_look = {
            "vue": 'number => [...document.querySelectorAll(`[data-node-id="${number}"] img`)]',
            "classic": "number => app.graph.getNodeById(number).imgs ?? []",
        }
        loaded = "pictures => pictures.filter(picture => picture.naturalWidth > 0).length == 1"
        self.page.wait_for_function(f"number => ({loaded})(({of_look[self.look]})(number))", arg=number)

    def drop(self, content: bytes, name: str, kind: str) -> None:
        """Drop a file onto the canvas."""
        self.page.evaluate(
            """async ([content, name, type]) => {
                const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], name, {type}));
                const place = {clientX: 800, clientY: 900, bubbles: true, cancelable: true, dataTransfer: data};
                for (const event of ["dragenter", "dragover", "drop"])
                    app.canvas.canvas.dispatchEvent(new DragEvent(event, place));
            }""",
            [base64.b64encode(content).decode(), name, kind],
        )

    def search(self, words: str) -> None:
        """Look for a node in the search box; what it finds are the page's options."""
        box = self.page.get_by_placeholder("Add a node")
        if not box.count():
            self.page.evaluate("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
        # what is found next is no leftover of an earlier search
        box.fill("no node has such a name")
        self.page.wait_for_function("!document.querySelector('[role=option]')")
        box.fill(words)
        self.page.get_by_role("option").first.wait_for()

    def add(self, title: str, x: float = 800, y: float = 500) -> None:
        """Take the node of this very title from what the search found, and put it down at a place of the window."""
        found = self.page.get_by_role("option").filter(has=self.page.get_by_text(title, exact=True))
        found.first.click()
        # it hangs at the mouse until it is put down
        self.page.wait_for_function("app.graph.nodes.some(node => node.flags.ghost)")
        self.page.mouse.move(x, y, steps=3)
        self.drawn()
        self.page.mouse.click(x, y)
        self.page.wait_for_function("!app.graph.nodes.some(node => node.flags.ghost)")

    def save(self, name: str) -> None:
        """Save the workflow with the keyboard, under a name; return when the server has it."""
        self.page.keyboard.press("ControlOrMeta+s")
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("textbox").fill(name)
        # the dialog closes before the file is sent
        with self.page.expect_response(lambda answer: is_saved_file(answer, name)) as answer:
            self.page.keyboard.press("Enter")
        assert answer.value.ok, answer.value.status
        dialog.wait_for(state="detached")

    def photograph(self, name: str) -> None:
        """Keep a picture of the window, if any are wanted."""
        if self.screenshots:
            self.screenshots.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=self.screenshots / f"{name}.png", animations="disabled")
