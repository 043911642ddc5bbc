// Plots: axes, lines, areas and bars as SVG, and the cursor that all plots over time share.
//
// A plot over time is given values that hold over spans: value i from edge i to edge i + 1. All of them draw faults,
// warm-up and settling in the same way, and tell the cursor when the pointer or an arrow key moves it.

const MARGIN = { left: 58, right: 14, top: 20, bottom: 26 };
const HEIGHT = 210;
const CHARACTER = 5.7;
/** More are drawn as bands without lines, and counted where labels have no room. */
const MANY_FAULTS = 40;
/** Characters that a fault has for its label before the next, or they share one. */
const SHORTEST_LABEL = 12;

const cursor = { at: null, followers: [], seekers: [], due: false };

function moveCursor(at) {
    cursor.at = at === null ? null : Math.min(span(), Math.max(0, at));
    if (cursor.due) return;
    cursor.due = true;
    requestAnimationFrame(() => {
        cursor.due = false;
        for (const follow of cursor.followers) follow(cursor.at);
    });
}

function seek(at) {
    for (const go of cursor.seekers) go(at);
}

// Axes.

function linear(from, to, low, high) {
    const scale = (value) => low + ((value - from) / (to - from || 1)) * (high - low);
    scale.invert = (place) => from + ((place - low) / (high - low || 1)) * (to - from);
    return scale;
}

function logarithmic(from, to, low, high) {
    const inner = linear(Math.log10(from), Math.log10(to), low, high);
    const scale = (value) => inner(Math.log10(value));
    scale.invert = (place) => 10 ** inner.invert(place);
    return scale;
}

/** Round steps from 0 to at least `most`, at most so many. */
function roundTicks(most, wanted = 4, whole = false) {
    if (!(most > 0)) return [0, 1];
    const raw = most / wanted;
    const power = 10 ** Math.floor(Math.log10(raw));
    let step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
    if (whole) step = Math.max(1, Math.ceil(step));
    const ticks = [];
    for (let i = 0; i === 0 || ticks[i - 1] < most * 0.999; i += 1) ticks.push(i * step);
    return ticks;
}

const TIME_STEPS = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 345600, 604800,
];

function timeTicks(to, wanted) {
    const raw = to / Math.max(1, wanted);
    const step =
        raw < 1 ? roundTicks(to, wanted)[1] : (TIME_STEPS.find((s) => s >= raw) ?? Math.ceil(raw / 604800) * 604800);
    const [unit, name] =
        step >= 86400 ? [86400, "d"] : step >= 3600 ? [3600, "h"] : step >= 60 ? [60, "min"] : [1, "s"];
    const ticks = [];
    for (let i = 0; i * step <= to * 1.0001; i += 1) {
        const text = String(Number(((i * step) / unit).toPrecision(6)));
        ticks.push([i * step, i === 0 ? "0" : `${text} ${name}`]);
    }
    return ticks;
}

function xAxis(ticks, scale, width, height) {
    const bottom = height - MARGIN.bottom;
    return svg(
        "g",
        { class: "axis" },
        svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: bottom, y2: bottom }),
        ticks
            .map(([at, text]) => {
                const x = scale(at);
                const end = x + (text.length * CHARACTER) / 2 > width ? "end" : "middle";
                return [
                    svg("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4 }),
                    svg("text", { x: end === "end" ? width - 2 : x, y: bottom + 17, "text-anchor": end }, text),
                ];
            })
            .flat(),
    );
}

function yAxis(ticks, scale, width, format) {
    return svg(
        "g",
        { class: "axis grid" },
        ticks
            .map((value) => {
                const y = scale(value);
                return [
                    svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
                    svg("text", { x: MARGIN.left - 7, y: y + 3.5, "text-anchor": "end" }, format(value)),
                ];
            })
            .flat(),
    );
}

// What stands behind every plot over time.

function shortened(text, space) {
    const fits = Math.floor(space / CHARACTER);
    if (text.length <= fits) return text;
    return fits >= 5 ? `${text.slice(0, fits - 1)}…` : null;
}

/** Bands for faults, warm-up and settling, between `top` and `bottom`; labels above where there is room. */
function background(scale, top, bottom, labels) {
    const group = svg("g", { class: "bands" });
    const [left, right] = [scale(0), scale(span())];
    const band = (from, until, kind, title) => {
        const x = Math.max(left, scale(from));
        group.append(
            svg(
                "rect",
                {
                    class: kind,
                    x,
                    y: top,
                    width: Math.max(1.5, Math.min(right, scale(until)) - x),
                    height: bottom - top,
                },
                svg("title", {}, title),
            ),
        );
    };
    const { warm_s, calm_s, end_s } = record.times;
    const quiet = [
        [0, warm_s, "warm-up"],
        [calm_s, Math.max(end_s, span()), "settling"],
    ].filter(([from, until]) => until > from);
    for (const [from, until, name] of quiet) {
        band(from, until, "quiet", `${name}, ${moment(from)} to ${moment(until)}`);
        if (labels && name.length * CHARACTER < scale(until) - scale(from) - 6)
            group.append(svg("text", { class: "quiet", x: scale(from) + 4, y: bottom - 5 }, name));
    }
    for (const fault of record.faults) {
        band(fault.at_s, fault.until_s, "fault", `${fault.label}, ${moment(fault.at_s)} to ${moment(fault.until_s)}`);
        if (record.faults.length <= MANY_FAULTS)
            group.append(
                svg("line", { class: "fault", x1: scale(fault.at_s), x2: scale(fault.at_s), y1: top, y2: bottom }),
            );
    }
    if (labels) group.append(...faultLabels(scale, top, right));
    return group;
}

/** Faults that begin too close together for a label each have one: of the one that lasts longest, and how many more. */
function faultLabels(scale, top, right) {
    const groups = [];
    for (const fault of [...record.faults].sort((a, b) => a.at_s - b.at_s)) {
        const group = groups[groups.length - 1];
        if (group && scale(fault.at_s) - scale(group[0].at_s) < SHORTEST_LABEL * CHARACTER) group.push(fault);
        else groups.push([fault]);
    }
    const lasting = (fault) => fault.until_s - fault.at_s;
    const drawn = [];
    let free = 0;
    groups.forEach((group, i) => {
        const begin = scale(group[0].at_s);
        const more = group.length > 1 ? ` +${group.length - 1}` : "";
        const longest = group.reduce((one, other) => (lasting(other) > lasting(one) ? other : one));
        const space = (groups[i + 1] ? scale(groups[i + 1][0].at_s) - 7 : right + 8) - begin;
        const text = shortened(longest.label, space - more.length * CHARACTER);
        if (text && begin >= free) {
            const title = svg("title", {}, group.map((fault) => fault.label).join(", "));
            drawn.push(svg("text", { class: "fault", x: begin, y: top - 6 }, text + more, title));
            free = begin + (text + more).length * CHARACTER + 4;
        }
    });
    if (!groups.length || drawn.length * 3 >= groups.length) return drawn;
    const text = plural(record.faults.length, "fault");
    const begin = Math.min(scale(groups[0][0].at_s), right - text.length * CHARACTER);
    return [svg("text", { class: "fault", x: begin, y: top - 6 }, text)];
}

// The frame of a plot: title, legend with values, and the place to draw.

function figure(title, note) {
    const legend = html("ul", { class: "legend" });
    const at = html("span", { class: "at" });
    const stage = html("div", { class: "stage" });
    const root = html(
        "figure",
        { class: "plot" },
        html("figcaption", {}, html("h3", {}, title), note ? html("p", {}, note) : null),
        html("div", { class: "readings" }, at, legend),
        stage,
    );
    return { root, legend, at, stage };
}

function emptyFigure(title, note, text) {
    const parts = figure(title, note);
    parts.root.querySelector(".readings").remove();
    parts.stage.replaceWith(missing(text));
    return parts.root;
}

/** A legend whose values can be set: returns a function from texts. */
function legendOf(list, series, area) {
    const values = series.map((one) => {
        const value = html("b", {}, "");
        list.append(
            html(
                "li",
                {},
                area
                    ? html("span", { class: "swatch", style: `background:${one.colour}` })
                    : svg(
                          "svg",
                          { class: "stroke", viewBox: "0 0 18 6", width: 18, height: 6, "aria-hidden": "true" },
                          svg("line", {
                              x1: 0,
                              x2: 18,
                              y1: 3,
                              y2: 3,
                              style: `stroke:${one.colour}`,
                              "stroke-width": 2.5,
                              "stroke-dasharray": one.dash,
                          }),
                      ),
                html("span", {}, one.name),
                value,
            ),
        );
        return value;
    });
    return (texts) => texts.forEach((text, i) => (values[i].textContent = text));
}

/**
 * A plot over time. `edges` has one moment more than each series has values. Of `spec`: title, note, edges,
 * series [{name, values, colour?}], stacked, format, tick (format of the axis), most (of the axis), whole (numbers),
 * idle [what the legend shows without cursor, function of the values while there was traffic], nothing (text where all
 * is 0), missing.
 */
function timePlot(spec) {
    const series = spec.series.map((one, i) => ({ colour: colour(i), dash: dashes(i), ...one }));
    const all = series.flatMap((one) => one.values);
    if (!series.length || spec.edges.length < 2) return emptyFigure(spec.title, spec.note, spec.missing);
    if (spec.nothing && all.every((value) => !value)) return emptyFigure(spec.title, spec.note, spec.nothing);
    const parts = figure(spec.title, spec.note);
    const tell = legendOf(parts.legend, series, spec.stacked);
    const tops = spec.stacked ? stackedTops(series) : series.map((one) => one.values);
    const ticks = roundTicks(
        spec.most ?? tops.reduce((most, values) => values.reduce((a, b) => Math.max(a, b || 0), most), 0),
        4,
        spec.whole,
    );
    const { warm_s, calm_s } = record.times;
    const measured = (values) => values.filter((_, i) => spec.edges[i] >= warm_s && spec.edges[i] < calm_s);
    const idle = series.map((one) =>
        spec.format(spec.idle[1](measured(one.values).length ? measured(one.values) : one.values)),
    );
    const spanAt = (at) => Math.min(spec.edges.length - 2, Math.max(0, upper(spec.edges, at) - 1));
    let x = null;
    let line = null;
    const follow = (at) => {
        if (!line) return;
        line.setAttribute("visibility", at === null ? "hidden" : "visible");
        if (at === null) {
            parts.at.textContent = spec.idle[0];
            tell(idle);
            return;
        }
        line.setAttribute("x1", x(at));
        line.setAttribute("x2", x(at));
        parts.at.textContent = moment(at);
        tell(series.map((one) => spec.format(one.values[spanAt(at)])));
    };
    whenSized(parts.stage, (width) => {
        x = linear(0, span(), MARGIN.left, width - MARGIN.right);
        const y = linear(0, ticks[ticks.length - 1], HEIGHT - MARGIN.bottom, MARGIN.top);
        line = svg("line", { class: "cursor", y1: MARGIN.top - 4, y2: HEIGHT - MARGIN.bottom });
        const values = series.map((one, i) => `${one.name} ${idle[i]}`);
        const drawing = drawingOf(
            width,
            HEIGHT,
            [spec.title, spec.note, `${spec.idle[0]}: ${values.join(", ")}`].filter(Boolean).join(". "),
        );
        drawing.append(
            background(x, MARGIN.top, HEIGHT - MARGIN.bottom, true),
            yAxis(ticks, y, width, spec.tick ?? spec.format),
            xAxis(timeTicks(span(), width / 90), x, width, HEIGHT),
            ...(spec.stacked ? areas(series, tops, spec.edges, x, y) : lines(series, spec.edges, x, y)),
            line,
        );
        const readings = () => [...parts.legend.children].map((item) => item.innerText.replaceAll("\n", " "));
        steer(drawing, x, () => speak(`${parts.at.textContent}: ${readings().join(", ")}`));
        parts.stage.replaceChildren(drawing);
        follow(cursor.at);
    });
    cursor.followers.push(follow);
    return parts.root;
}

function drawingOf(width, height, label) {
    return svg("svg", {
        width,
        height,
        viewBox: `0 0 ${width} ${height}`,
        role: "img",
        tabindex: 0,
        "aria-label": label,
    });
}

/** Pointer and arrow keys move the cursor; a click shows that moment in the topology too. */
function steer(drawing, x, told) {
    const at = (event) => x.invert(event.clientX - drawing.getBoundingClientRect().left);
    drawing.addEventListener("pointermove", (event) => moveCursor(at(event)));
    drawing.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && moveCursor(null));
    drawing.addEventListener("click", (event) => {
        moveCursor(at(event));
        seek(cursor.at);
    });
    drawing.addEventListener("keydown", (event) => {
        const step = span() / (event.shiftKey ? 20 : 200);
        const to = {
            ArrowLeft: (cursor.at ?? span()) - step,
            ArrowRight: (cursor.at ?? 0) + step,
            Home: 0,
            End: span(),
            Escape: null,
        }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        moveCursor(to);
        if (to !== null) seek(cursor.at);
        requestAnimationFrame(() => requestAnimationFrame(told));
    });
    drawing.addEventListener("blur", () => moveCursor(null));
}

/** The number of elements of a sorted list that are at most `value`. */
function upper(sorted, value) {
    let [low, high] = [0, sorted.length];
    while (low < high) {
        const middle = (low + high) >> 1;
        if (sorted[middle] <= value) low = middle + 1;
        else high = middle;
    }
    return low;
}

function stackedTops(series) {
    const sums = [];
    return series.map((one) => one.values.map((value, i) => (sums[i] = (sums[i] ?? 0) + (value || 0))));
}

const place = (value) => value.toFixed(1);

function stairs(values, edges, x, y, gaps) {
    let path = "";
    values.forEach((value, i) => {
        if (!known(value) && gaps) return;
        const level = place(y(value || 0));
        const joined = i > 0 && !(gaps && !known(values[i - 1]));
        path += `${joined ? "L" : "M"}${place(x(edges[i]))} ${level}H${place(x(edges[i + 1]))}`;
    });
    return path;
}

function lines(series, edges, x, y) {
    return series
        .map((one) =>
            svg("path", {
                class: one.beneath ? "line beneath" : "line",
                d: stairs(one.values, edges, x, y, true),
                style: `stroke:${one.colour}`,
                "stroke-dasharray": one.dash,
            }),
        )
        .sort((a, b) => b.classList.contains("beneath") - a.classList.contains("beneath"));
}

function areas(series, tops, edges, x, y) {
    return series.map((one, s) => {
        const below = s > 0 ? tops[s - 1] : tops[s].map(() => 0);
        const back = [...below]
            .map((value, i) => `L${place(x(edges[i + 1]))} ${place(y(value))}H${place(x(edges[i]))}`)
            .reverse()
            .join("");
        return svg("path", {
            class: "area",
            d: `${stairs(tops[s], edges, x, y, false)}${back}Z`,
            style: `fill:${one.colour}`,
        });
    });
}
