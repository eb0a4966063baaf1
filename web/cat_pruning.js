// Lines on the nodes that say what a run did. The front end's own text of a running node is gone when its job has ended.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const NAME = "cat_pruning_lines";
const LINE = 15, LETTER = 6, MARGIN = 30; // pixels

/** Rows that a text takes on a node of this width. */
function countRows(text, width) {
    return text.split("\n").reduce((rows, line) => rows + Math.max(1, Math.ceil((line.length * LETTER) / (width - MARGIN))), 0);
}

/** The nodes that the host means by "3:7": node 3, and 7 in its subgraph. None if they are of a workflow in another tab. */
function find(id) {
    const nodes = [];
    let graph = app.rootGraph ?? app.graph;
    for (const part of String(id).split(":")) {
        const node = graph?.getNodeById(part);
        if (!node) return [];
        nodes.push(node);
        graph = node.subgraph;
    }
    return nodes;
}

function addLines(node) {
    const box = document.createElement("div");
    box.dataset.testid = `cat-pruning-lines-${node.id}`;
    box.style.cssText = `white-space: pre-wrap; overflow: auto; font-size: 11px; line-height: ${LINE}px; padding: 0 8px`;
    const widget = node.addDOMWidget(NAME, NAME, box, {
        getValue: () => box.textContent,
        setValue: (text) => { box.textContent = text; },
        getMinHeight: () => LINE * (countRows(box.textContent, node.size[0]) + 1),
        serialize: false, // not sent to the server
    });
    widget.serialize = false; // nor kept in the workflow
    return widget;
}

function write(node, text) {
    const widget = node.widgets?.find((one) => one.name === NAME) ?? addLines(node);
    widget.value = text;
    const [width, height] = node.computeSize();
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
    node.setDirtyCanvas(true, true);
}

/** On the node that stands for a subgraph: what its nodes said, but for reports, which say the same at length. */
function writeOutside(outer, inner, text) {
    if (inner.type.startsWith("CATPruningReport")) return;
    outer.catPruningSaid ??= new Map();
    outer.catPruningSaid.set(inner.id, `${inner.title}: ${text}`);
    write(outer, [...outer.catPruningSaid.values()].join("\n"));
}

/** Pictures on a node whose run goes on; its result takes their place. */
function showImages(node, images) {
    const id = node.graph === (app.rootGraph ?? app.graph) ? node.id : `${node.graph.id}:${node.id}`;
    app.nodeOutputs[id] = { images };
}

app.registerExtension({
    name: "CATPruning.Lines",
    setup() {
        api.addEventListener("cat_pruning.lines", ({ detail }) => {
            const nodes = find(detail.node), inner = nodes.pop();
            if (!inner) return;
            write(inner, detail.text);
            if (detail.images.length) showImages(inner, detail.images);
            for (const outer of nodes) writeOutside(outer, inner, detail.text);
        });
    },
});
