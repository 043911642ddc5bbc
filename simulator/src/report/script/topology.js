// Topology: nodes and links on a canvas, over time.
//
// Edges are drawn in one path for each load, so that ten thousand of them take milliseconds. A frame gives a character to
// each node and edge; where there are no frames, one is made from what links carried over the whole run.

const STATES = { 1: "on", 0: "off", z: "asleep", h: "hostile" };
const LOADS = 7;
const loadNames = ["idle", "under 10 B/s", "10 B/s", "100 B/s", "1 kB/s", "10 kB/s", "100 kB/s", "1 MB/s and more"];
const view = {
    frame: 0,
    zoom: 1,
    x: 0,
    y: 0,
    pointed: null,
    chosen: null,
    playing: null,
    places: [],
    spread: null,
    // Whether nodes stand on coordinates, how many pixels a metre has, and whether all circles of reach are shown.
    onMap: false,
    scale: 1,
    reach: false,
    width: 0,
    height: 0,
};
const groups = [...new Set(record.nodes.map((node) => node.group))];
// Not the colour that stands for faults and hostile nodes.
const GROUP_COLOURS = [0, 2, 4, 3, 5, 7, 6];
const groupColour = (group) => GROUP_COLOURS[groups.indexOf(group) % GROUP_COLOURS.length];
const crowded = record.edges.length > 1500;

const frames = record.frames.length ? record.frames : [overallFrame()];

function overallFrame() {
    const load = (edge) => (edge.bytes[0] + edge.bytes[1]) / span();
    const level = (value) => (value < 1 ? 0 : Math.min(9, 1 + Math.floor(Math.log10(value))));
    return {
        at_s: span(),
        nodes: "1".repeat(record.nodes.length),
        edges: record.edges.map((edge) => level(load(edge))).join(""),
    };
}

/** Where nodes are drawn: theirs if they stand apart, else a layout. */
function placesOf() {
    const standing = record.nodes.map((node) => [node.x || 0, node.y || 0]);
    const moving = frames.some((frame) => frame.places?.length);
    const together = standing.every(([x, y]) => x === standing[0][0] && y === standing[0][1]);
    const base = together && !moving ? laidOut(standing.length, record.edges) : standing;
    return {
        laid: together && !moving,
        all: frames.map((frame) => (frame.places?.length === base.length ? frame.places : base)),
    };
}

function boundsOf(all) {
    const box = [Infinity, -Infinity, Infinity, -Infinity];
    for (const places of new Set(all)) {
        for (const [x, y] of places) {
            box[0] = Math.min(box[0], x);
            box[1] = Math.max(box[1], x);
            box[2] = Math.min(box[2], y);
            box[3] = Math.max(box[3], y);
        }
    }
    return box;
}

/** From places to pixels, north up, the same scale both ways. */
function projected(index) {
    const [left, right, low, high] = view.box;
    const room = Math.min(36, view.width * 0.07);
    const scale =
        Math.min((view.width - 2 * room) / (right - left || 1e-9), (view.height - 2 * room) / (high - low || 1e-9)) *
        view.zoom;
    const usable = Number.isFinite(scale) && scale < 1e8 ? scale : 1;
    view.scale = usable;
    const [cx, cy] = [view.width / 2 + view.x, view.height / 2 + view.y];
    return view.places[index].map(([x, y], i) => [
        cx + (x - (left + right) / 2) * usable + view.apart[i][0],
        cy - (y - (low + high) / 2) * usable + view.apart[i][1],
    ]);
}

function drawTopology(canvas) {
    const frame = frames[view.frame];
    const context = canvas.getContext("2d");
    const ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    view.points = projected(view.frame);
    const focus = view.pointed ?? view.chosen;
    drawReach(context, focus);
    drawEdges(context, frame, focus);
    drawNodes(context, frame, focus);
    drawScale(context);
}

function drawEdges(context, frame, focus) {
    const buckets = new Map();
    const near = [];
    record.edges.forEach((edge, i) => {
        const level = frame.edges[i] ?? "-";
        if (!buckets.has(level)) buckets.set(level, []);
        buckets.get(level).push(edge);
        if (edge.a === focus || edge.b === focus) near.push([edge, level]);
    });
    const dim = focus === null ? 1 : 0.25;
    for (const level of [...buckets.keys()].sort()) {
        const down = level === "-";
        context.globalAlpha = dim * (down ? (crowded ? 0.12 : 0.55) : crowded ? 0.25 + 0.08 * Number(level) : 0.9);
        context.setLineDash(down && !crowded ? [3, 4] : []);
        stroke(context, level, buckets.get(level), crowded ? 0.5 : view.width < 500 ? 0.7 : 1);
    }
    context.globalAlpha = 1;
    for (const [edge, level] of near) {
        context.setLineDash(level === "-" ? [3, 4] : []);
        stroke(context, level, [edge], 1.4);
    }
    context.setLineDash([]);
}

function stroke(context, level, edges, strength) {
    const load = level === "-" ? 0 : Math.min(LOADS, Number(level));
    context.strokeStyle = view.colours[level === "-" ? "down" : load];
    context.lineWidth = (level === "-" ? 1 : 0.9 + load * 0.35) * strength;
    context.beginPath();
    for (const { a, b, bearer } of edges) {
        const [[x1, y1], [x2, y2]] = [view.points[a], view.points[b]];
        // Links over several bearers run beside each other.
        const shift = record.bearers.length > 1 ? (bearer - (record.bearers.length - 1) / 2) * 3 : 0;
        const length = Math.hypot(x2 - x1, y2 - y1) || 1;
        const [dx, dy] = [((y1 - y2) / length) * shift, ((x2 - x1) / length) * shift];
        context.moveTo(x1 + dx, y1 + dy);
        context.lineTo(x2 + dx, y2 + dy);
    }
    context.stroke();
}

function radius() {
    const count = record.nodes.length;
    return (
        (count > 400 ? 3 : count > 150 ? 4 : count > 40 ? 5.5 : 7) *
        Math.min(1.6, Math.sqrt(view.zoom)) *
        (view.width < 500 ? 0.8 : 1)
    );
}

function drawNodes(context, frame, focus) {
    const size = radius();
    record.nodes.forEach((node, i) => {
        drawNode(
            context,
            frame.nodes[i] ?? "1",
            view.points[i],
            size,
            view.colours.groups[groupColour(node.group)],
            i === focus,
        );
    });
    const names = record.nodes.length <= 24 && view.width > 500;
    if (!names) return;
    context.font = `11px ${view.colours.font}`;
    context.textAlign = "center";
    context.lineWidth = 3;
    context.strokeStyle = view.colours.paper;
    context.fillStyle = view.colours.text;
    record.nodes.forEach((node, i) => {
        const [x, y] = view.points[i];
        context.strokeText(node.name, x, y - size - 5);
        context.fillText(node.name, x, y - size - 5);
    });
}

/** On is full, asleep half full, off empty with a cross, hostile a diamond. */
function drawNode(context, state, [x, y], size, shade, focused) {
    context.lineWidth = 1.4;
    context.beginPath();
    if (state === "h") {
        const wide = size * 1.5;
        context.moveTo(x, y - wide);
        context.lineTo(x + wide, y);
        context.lineTo(x, y + wide);
        context.lineTo(x - wide, y);
        context.closePath();
    } else {
        context.arc(x, y, size, 0, 2 * Math.PI);
    }
    context.fillStyle = state === "h" ? view.colours.hostile : state === "1" ? shade : view.colours.paper;
    context.strokeStyle = state === "0" ? view.colours.faint : state === "z" ? shade : view.colours.paper;
    context.fill();
    context.stroke();
    if (state === "z") {
        context.beginPath();
        context.arc(x, y, size, 0, Math.PI);
        context.fillStyle = shade;
        context.fill();
    }
    if (state === "0") {
        const half = size * 0.5;
        context.beginPath();
        context.moveTo(x - half, y - half);
        context.lineTo(x + half, y + half);
        context.moveTo(x + half, y - half);
        context.lineTo(x - half, y + half);
        context.stroke();
    }
    if (focused) {
        context.beginPath();
        context.arc(x, y, size + 4, 0, 2 * Math.PI);
        context.strokeStyle = view.colours.text;
        context.stroke();
    }
}

function readColours() {
    view.colours = {
        down: cssColour("--faint"),
        faint: cssColour("--muted"),
        hostile: cssColour("--bad"),
        paper: cssColour("--paper"),
        text: cssColour("--text"),
        font: "system-ui, sans-serif",
    };
    for (let load = 0; load <= LOADS; load += 1) view.colours[load] = cssColour(`--load${load}`);
    view.colours.groups = Array.from({ length: COLOURS }, (_, i) => cssColour(`--c${i}`));
}

function topologyLegend() {
    const mark = (state) => {
        const canvas = html("canvas", { width: 36, height: 36, class: "sample", "aria-hidden": "true" });
        const draw = () => {
            const context = canvas.getContext("2d");
            context.setTransform(2, 0, 0, 2, 0, 0);
            context.clearRect(0, 0, 18, 18);
            drawNode(context, state, [9, 9], 5, view.colours.faint, false);
        };
        draw();
        themed.push(draw);
        return canvas;
    };
    const states = ["1", "z", "0", "h"]
        .map((key) => [key, STATES[key]])
        .filter(([key]) => key === "1" || frames.some((frame) => frame.nodes.includes(key)));
    const highest = Math.min(
        LOADS,
        frames.reduce(
            (high, frame) => Math.max(high, ...[..."123456789"].filter((d) => frame.edges.includes(d)).map(Number)),
            1,
        ),
    );
    const loads = Array.from({ length: highest + 1 }, (_, i) => i);
    const item = (sign, text, extra) => html("li", {}, sign, html("span", {}, text), extra ?? null);
    const tallies = {};
    const tally = (key) => (tallies[key] = html("b", {}));
    const list = html(
        "div",
        { class: "key" },
        html("h3", {}, "Nodes"),
        html(
            "ul",
            {},
            states.map(([key, name]) => item(mark(key), name, tally(`node ${key}`))),
        ),
        groups.length > 1
            ? [
                  html("h3", {}, "Groups"),
                  html(
                      "ul",
                      {},
                      groups.map((group) =>
                          item(
                              html("span", {
                                  class: "swatch round",
                                  style: `background:${colour(groupColour(group))}`,
                              }),
                              group || "no group",
                              html("b", {}, count(record.nodes.filter((node) => node.group === group).length)),
                          ),
                      ),
                  ),
              ]
            : null,
        html("h3", {}, "Links"),
        html(
            "ul",
            {},
            item(html("span", { class: "stripe down" }), "down", tally("link -")),
            loads.map((i) =>
                item(
                    html("span", {
                        class: "stripe",
                        style: `background:var(--load${i});height:${(1.5 + i * 0.5).toFixed(1)}px`,
                    }),
                    i > 1 ? `from ${loadNames[i]}` : loadNames[i],
                    tally(`link ${i}`),
                ),
            ),
        ),
        reachChoice(),
        html(
            "p",
            { class: "about" },
            record.bearers.length > 1 ? `Links over ${record.bearers.join(" and ")} run beside each other. ` : "",
            "Load is that since the frame before, both ways.",
        ),
    );
    const tell = (frame) => {
        const seen = {};
        const see = (key) => (seen[key] = (seen[key] ?? 0) + 1);
        for (const state of frame.nodes) see(`node ${state}`);
        for (const level of frame.edges) see(`link ${level === "-" ? level : Math.min(LOADS, Number(level))}`);
        for (const key of Object.keys(tallies)) tallies[key].textContent = count(seen[key] ?? 0);
    };
    return { list, tell };
}
