// Player: the topology's canvas with its controls. Slider and play button go through the frames; buttons and dragging
// move the view; pointing at a node, or choosing one by name, tells its figures.

const PLAY_MS = 20000;

function topologySection() {
    const title = "Topology";
    if (!record.nodes.length) return section("topology", title, null, missing("The run had no nodes."));
    const { laid, all } = placesOf();
    view.places = all;
    view.onMap = !laid;
    view.box = boundsOf(all);
    view.apart = apart(all[0]);
    readColours();
    const size = `${plural(record.nodes.length, "node")}, ${plural(record.edges.length, "possible link")}`;
    const label = `Topology: ${size}. Arrow keys go through time, space plays.`;
    const canvas = html("canvas", {
        tabindex: 0,
        role: "img",
        "aria-label": label,
    });
    const tip = html("div", { class: "tip", hidden: true });
    const stage = html("div", { class: "map" }, canvas, tip, zoomButtons());
    const legend = topologyLegend();
    const controls = timeline();
    let due = false;
    view.redraw = () => {
        if (due || !view.width) return;
        due = true;
        requestAnimationFrame(() => {
            due = false;
            drawTopology(canvas);
            tellNode(tip);
        });
    };
    view.show = (index) => {
        view.frame = Math.max(0, Math.min(frames.length - 1, index));
        legend.tell(frames[view.frame]);
        controls.tell();
        view.redraw();
    };
    themed.push(() => {
        readColours();
        view.redraw();
    });
    cursor.seekers.push((at) => view.show(frameAt(at)));
    whenSized(stage, (width) => {
        view.width = width;
        view.height = Math.round(Math.max(280, Math.min(600, width * 0.68)));
        const ratio = devicePixelRatio || 1;
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(view.height * ratio);
        canvas.style.height = `${view.height}px`;
        view.redraw();
    });
    point(canvas);
    // Before the warm-up is over there is little to see.
    view.show(frameAt(record.times.warm_s + 1e-9) + (frames.length > 1 ? 1 : 0));
    const about = laid
        ? "All nodes stand on one point, so they are laid out by their links, or on a circle."
        : "Nodes where they stand, north up. Pointing at one shows how far it reaches, where its bearer has a reach.";
    return section(
        "topology",
        title,
        record.frames.length ? about : `${about} The run left no frames: shown is what links carried on average.`,
        html(
            "div",
            { class: "map-and-key" },
            html("div", {}, stage, record.frames.length > 1 ? controls.root : null, nodeSearch()),
            legend.list,
        ),
    );
}

function frameAt(at) {
    return Math.max(
        0,
        upper(
            frames.map((frame) => frame.at_s),
            at + 1e-9,
        ) - 1,
    );
}

// Time.

function timeline() {
    const slider = html("input", {
        type: "range",
        min: 0,
        max: frames.length - 1,
        step: 1,
        value: 0,
        "aria-label": "Time",
        oninput: (event) => {
            view.show(Number(event.target.value));
            moveCursor(frames[view.frame].at_s);
        },
        onchange: () => moveCursor(null),
    });
    const now = html("span", { class: "now" });
    const button = html("button", { type: "button", class: "play", onclick: togglePlay }, "▶ Play");
    const faults = html("p", { class: "active", role: "status" });
    const strip = html("div", { class: "strip" });
    whenSized(strip, (width) => {
        const drawing = svg("svg", { width, height: 46, role: "img", "aria-label": "Faults over time" });
        // The slider's thumb has its middle half its width within the ends.
        const first = frames[0].at_s;
        const last = Math.max(first + 1e-9, frames[frames.length - 1].at_s);
        const x = (at) => 8 + ((Math.min(last, Math.max(first, at)) - first) / (last - first)) * (width - 16);
        drawing.append(
            background(x, 0, 26, false),
            ...timeTicks(span(), width / 90)
                .filter(([at]) => at <= last)
                .map(([at, text]) =>
                    svg(
                        "text",
                        {
                            class: "tick",
                            x: Math.max(2, Math.min(width - 2, x(at))),
                            y: 41,
                            "text-anchor": x(at) < 14 ? "start" : x(at) > width - 24 ? "end" : "middle",
                        },
                        text,
                    ),
                ),
        );
        strip.replaceChildren(drawing);
    });
    const tell = () => {
        const { at_s } = frames[view.frame];
        slider.value = view.frame;
        slider.setAttribute("aria-valuetext", moment(at_s));
        now.textContent = moment(at_s);
        button.textContent = view.playing === null ? "▶ Play" : "❚❚ Pause";
        button.setAttribute("aria-pressed", String(view.playing !== null));
        const active = record.faults.filter((fault) => fault.at_s <= at_s && at_s <= fault.until_s);
        const phase = at_s < record.times.warm_s ? "warm-up" : at_s > record.times.calm_s ? "settling" : "no fault";
        faults.textContent = active.length ? active.map((fault) => fault.label).join(", ") : phase;
        faults.className = active.length ? "active fault" : "active";
    };
    const root = html(
        "div",
        { class: "player" },
        html("div", { class: "buttons" }, button, now, faults),
        html("div", { class: "track" }, strip, slider),
    );
    return { root, tell };
}

function togglePlay() {
    if (view.playing !== null) {
        cancelAnimationFrame(view.playing);
        view.playing = null;
        view.show(view.frame);
        return;
    }
    const begin = view.frame >= frames.length - 1 ? 0 : view.frame;
    const pace = Math.max(60, Math.min(500, PLAY_MS / frames.length));
    let started = null;
    const step = (time) => {
        started ??= time;
        const index = begin + Math.floor((time - started) / pace);
        view.playing = index < frames.length - 1 ? requestAnimationFrame(step) : null;
        if (index !== view.frame || view.playing === null) view.show(index);
    };
    view.playing = requestAnimationFrame(step);
    view.show(begin);
}

// The view.

function zoomButtons() {
    const zoom = (factor) => () => {
        const next = Math.max(1, Math.min(16, view.zoom * factor));
        view.x = next === 1 ? 0 : (view.x * next) / view.zoom;
        view.y = next === 1 ? 0 : (view.y * next) / view.zoom;
        view.zoom = next;
        view.redraw();
    };
    return html(
        "div",
        { class: "zoom" },
        html("button", { type: "button", "aria-label": "Closer", onclick: zoom(1.6) }, "+"),
        html("button", { type: "button", "aria-label": "Farther", onclick: zoom(1 / 1.6) }, "−"),
    );
}

function point(canvas) {
    let drag = null;
    const nodeAt = (event) => {
        const box = canvas.getBoundingClientRect();
        const [px, py] = [event.clientX - box.left, event.clientY - box.top];
        let [best, near] = [null, 16 ** 2];
        (view.points ?? []).forEach(([x, y], i) => {
            const far = (x - px) ** 2 + (y - py) ** 2;
            if (far < near) [best, near] = [i, far];
        });
        return best;
    };
    canvas.addEventListener("pointerdown", (event) => {
        if (view.zoom > 1 && event.pointerType === "mouse") {
            drag = [event.clientX - view.x, event.clientY - view.y];
            canvas.setPointerCapture(event.pointerId);
        }
    });
    canvas.addEventListener("pointermove", (event) => {
        if (drag) {
            [view.x, view.y] = [event.clientX - drag[0], event.clientY - drag[1]];
            view.redraw();
            return;
        }
        const found = nodeAt(event);
        canvas.classList.toggle("over", found !== null);
        if (found !== view.pointed) {
            view.pointed = found;
            view.redraw();
        }
    });
    canvas.addEventListener("pointerup", () => (drag = null));
    canvas.addEventListener("pointerleave", () => {
        view.pointed = null;
        view.redraw();
    });
    canvas.addEventListener("click", (event) => choose(nodeAt(event)));
    canvas.addEventListener("keydown", (event) => {
        const to = { ArrowLeft: view.frame - 1, ArrowRight: view.frame + 1, Home: 0, End: frames.length - 1 }[
            event.key
        ];
        if (to !== undefined) view.show(to);
        else if (event.key === " " && frames.length > 1) togglePlay();
        else if (event.key === "Escape") choose(null);
        else return;
        event.preventDefault();
    });
}

function choose(node) {
    view.chosen = node;
    view.redraw();
}

/** Shows the figures of the node pointed at or chosen, beside it. */
function tellNode(tip) {
    const focus = view.pointed ?? view.chosen;
    tip.hidden = focus === null;
    if (focus === null) return;
    const [node, frame] = [record.nodes[focus], frames[view.frame]];
    let [up, could] = [0, 0];
    record.edges.forEach((edge, i) => {
        if (edge.a !== focus && edge.b !== focus) return;
        could += 1;
        up += (frame.edges[i] ?? "-") === "-" ? 0 : 1;
    });
    tip.replaceChildren(
        html("strong", {}, node.name),
        html("span", {}, `${node.group ? `${node.group}, ` : ""}${STATES[frame.nodes[focus]] ?? "on"}`),
        facts([
            ["Links up", `${count(up)} of ${count(could)}`],
            ["Sent", count(node.sent)],
            ["Received", count(node.received)],
            ["Bytes", bytes(node.bytes)],
        ]),
    );
    const [x, y] = view.points[focus];
    const { offsetWidth: wide, offsetHeight: high } = tip;
    const beside = x + 14 + wide > view.width ? x - 14 - wide : x + 14;
    tip.style.left = `${Math.max(4, Math.min(view.width - wide - 4, beside))}px`;
    tip.style.top = `${Math.max(4, Math.min(view.height - high - 4, y - high / 2))}px`;
}

function nodeSearch() {
    const names = new Map(record.nodes.map((node, i) => [node.name, i]));
    return html(
        "p",
        { class: "search" },
        html("label", { for: "node-search" }, "Find a node"),
        html("input", {
            type: "search",
            id: "node-search",
            list: "node-names",
            autocomplete: "off",
            spellcheck: "false",
            placeholder: record.nodes[0].name,
            oninput: (event) => choose(names.get(event.target.value.trim()) ?? null),
        }),
        html(
            "datalist",
            { id: "node-names" },
            record.nodes.map((node) => html("option", { value: node.name })),
        ),
    );
}
