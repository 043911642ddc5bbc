// Figures: what the plots are of. Rates are differences of cumulative samples; what is known for a moment only holds until
// the next sample.

const samples = record.samples;
const NO_SAMPLES = "The run left fewer than two samples, so there is nothing to draw over time.";

// Rates are drawn over at most so many spans: finer ones show noise, not the course of things.
const MOST_SPANS = 140;
const thinned = thin(samples);

function thin(all) {
    const every = Math.max(1, Math.ceil((all.length - 1) / MOST_SPANS));
    const kept = all.filter((_, i) => i % every === 0);
    return (all.length - 1) % every === 0 ? kept : [...kept, all[all.length - 1]];
}

const moments = (some) => some.map((sample) => sample.at_s);
const rateEdges = moments(thinned);
/** What is known for a moment holds until the next, the last to the end. */
const heldEdges = samples.length ? [...moments(samples), Math.max(span(), samples[samples.length - 1].at_s)] : [];

const held = (pick) => samples.map(pick);
const differences = (pick) => thinned.slice(1).map((sample, i) => (pick(sample) ?? 0) - (pick(thinned[i]) ?? 0));
const rates = (pick) =>
    differences(pick).map((value, i) => {
        const time = rateEdges[i + 1] - rateEdges[i];
        return time > 0 ? value / time : 0;
    });

const mean = (values) => {
    const measured = values.filter(known);
    return measured.length ? measured.reduce((sum, value) => sum + value, 0) / measured.length : null;
};
const least = (values) => values.reduce((low, value) => (known(value) && !(value > low) ? value : low), Infinity);
const most = (values) => values.reduce((high, value) => (known(value) && !(value < high) ? value : high), -Infinity);
const last = (values) => values[values.length - 1];

function deliveryPlot() {
    const of = (key) => differences((sample) => sample[key]);
    return timePlot({
        title: "Delivery",
        note: thinned.length > 1 ? `Messages each ${brief(duration(rateEdges[1] - rateEdges[0]))}` : "Messages",
        edges: rateEdges,
        missing: NO_SAMPLES,
        series: [
            { name: "sent", values: of("sent"), colour: "var(--c6)", beneath: true },
            { name: "delivered", values: of("delivered"), colour: colour(0) },
            { name: "failed", values: of("failed"), colour: colour(1) },
        ],
        format: count,
        tick: count,
        whole: true,
        idle: ["Mean", mean],
        nothing: "No message was sent.",
    });
}

function reachablePlot() {
    return timePlot({
        title: "Reachability",
        note: "Share of pairs of devices connected over some way",
        edges: heldEdges,
        missing: NO_SAMPLES,
        series: [{ name: "reachable", values: held((sample) => sample.reachable) }],
        format: share,
        tick: (value) => share(value, 0),
        most: 1,
        idle: ["Lowest", least],
    });
}

function linksPlot() {
    return timePlot({
        title: "Links up",
        note: record.edges.length ? `Of ${plural(record.edges.length, "that could be", "that could be")}` : null,
        edges: heldEdges,
        missing: NO_SAMPLES,
        series: [{ name: "links", values: held((sample) => sample.links), colour: colour(2) }],
        format: count,
        whole: true,
        idle: ["Lowest", least],
        nothing: "No link was ever up.",
    });
}

function trafficPlot(title, note, names, key, shift) {
    return timePlot({
        title,
        note,
        edges: rateEdges,
        stacked: true,
        missing: names.length ? NO_SAMPLES : "The run names none.",
        series: names.map((name, i) => ({
            name,
            values: rates((sample) => sample[key][i]),
            colour: colour(i + shift),
        })),
        format: byteRate,
        tick: (value) => byteRate(value, 2).replace(/\.0+(?= )/, ""),
        idle: ["Mean", mean],
        nothing: "No byte was on a link.",
    });
}

function costPlot() {
    return timePlot({
        title: "Cost",
        note: "Since the start, in units of money",
        edges: heldEdges,
        missing: NO_SAMPLES,
        series: [{ name: "cost", values: held((sample) => sample.cost), colour: colour(4) }],
        format: money,
        tick: (value) => significant(value, 2),
        idle: ["In the end", last],
        nothing: "Nothing was paid: no bearer that was used asks a price.",
    });
}

function queuePlot() {
    return timePlot({
        title: "Queues",
        note: "Messages on their way out",
        edges: heldEdges,
        missing: NO_SAMPLES,
        series: [
            { name: "all nodes", values: held((sample) => sample.queued), colour: colour(0) },
            { name: "fullest node", values: held((sample) => sample.queued_most), colour: colour(3), dash: "5 2" },
        ],
        format: count,
        whole: true,
        idle: ["Most", most],
        nothing: "Nothing waited at any sample.",
    });
}

// Latency: the share that had arrived by then, over the logarithm of time.

function latencyPlot() {
    const [title, note] = ["Latency", "Share of messages that had arrived by then"];
    const names = Object.keys(record.latencies).filter((name) => record.latencies[name].length);
    names.sort((a, b) => (a === "all") - (b === "all") || (a < b ? -1 : 1));
    if (!names.length) return emptyFigure(title, note, "No message arrived, so there is no latency to draw.");
    const series = names.map((name, i) => ({
        name,
        points: record.latencies[name],
        colour: name === "all" ? "var(--text)" : colour(i),
        dash: name === "all" ? "1 0" : dashes(i),
    }));
    const times = series.flatMap((one) => one.points.map(([at]) => at)).filter((at) => at > 0);
    const from = times.length ? 10 ** Math.floor(Math.log10(least(times)) + 1e-9) : 1e-3;
    const to = Math.max(from * 10, times.length ? most(times) * 1.15 : 1);
    const parts = figure(title, `${note}, on a logarithmic time axis`);
    const tell = legendOf(parts.legend, series, false);
    const median = (points) => points.find(([, part]) => part >= 0.5)?.[0];
    let [x, line, marked] = [null, null, null];
    const show = (at) => {
        marked = at === null ? null : Math.min(to, Math.max(from, at));
        line.setAttribute("visibility", at === null ? "hidden" : "visible");
        parts.at.textContent = at === null ? "Median" : `By ${duration(marked)}`;
        if (at === null) {
            tell(series.map((one) => duration(median(one.points))));
            return;
        }
        line.setAttribute("x1", x(marked));
        line.setAttribute("x2", x(marked));
        tell(
            series.map(({ points }) => {
                const passed = upper(
                    points.map(([time]) => time),
                    marked,
                );
                return share(passed ? points[passed - 1][1] : 0);
            }),
        );
    };
    whenSized(parts.stage, (width) => {
        x = logarithmic(from, to, MARGIN.left, width - MARGIN.right);
        const y = linear(0, 1, HEIGHT - MARGIN.bottom, MARGIN.top);
        line = svg("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
        const drawing = drawingOf(
            width,
            HEIGHT,
            `${title}. ${note}. Median: ${series.map((one) => `${one.name} ${duration(median(one.points))}`).join(", ")}.`,
        );
        drawing.append(
            yAxis([0, 0.25, 0.5, 0.75, 0.9, 1], y, width, (value) => share(value, 0)),
            xAxis(decades(from, to, width), x, width, HEIGHT),
            ...series.map((one) => curve(one, x, y, from, to)),
            line,
        );
        const at = (event) => x.invert(event.clientX - drawing.getBoundingClientRect().left);
        drawing.addEventListener("pointermove", (event) => show(at(event)));
        drawing.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(null));
        drawing.addEventListener("blur", () => show(null));
        drawing.addEventListener("keydown", (event) => {
            const next = {
                ArrowLeft: (marked ?? to) / 1.05,
                ArrowRight: (marked ?? from) * 1.05,
                Home: from,
                End: to,
                Escape: null,
            }[event.key];
            if (next === undefined) return;
            event.preventDefault();
            show(next);
        });
        parts.stage.replaceChildren(drawing);
        show(null);
    });
    return parts.root;
}

function decades(from, to, width) {
    const few = Math.log10(to / from) * 110 < width;
    const ticks = [];
    for (let power = from; power <= to * 1.001; power *= 10) {
        for (const factor of few && to / from < 300 ? [1, 2, 5] : [1]) {
            if (power * factor <= to * 1.001)
                ticks.push([power * factor, duration(Number((power * factor).toPrecision(3)), 1)]);
        }
    }
    return ticks;
}

function curve(one, x, y, from, to) {
    let path = `M${place(x(Math.max(from, one.points[0][0])))} ${place(y(0))}`;
    for (const [at, part] of one.points) path += `L${place(x(Math.max(from, at)))} ${place(y(part || 0))}`;
    return svg("path", {
        class: "line",
        d: `${path}H${place(x(to))}`,
        style: `stroke:${one.colour}`,
        "stroke-dasharray": one.dash,
    });
}

// Load of links.

const BUSIEST = 12;

function busiestLinks() {
    const [title, note] = ["Busiest links", "Bytes one way and the other"];
    const loads = record.edges
        .map((edge) => ({ ...edge, sum: edge.bytes[0] + edge.bytes[1] }))
        .filter((edge) => edge.sum > 0);
    if (!loads.length)
        return emptyFigure(title, note, record.edges.length ? "No link carried a byte." : "There are no links.");
    loads.sort((a, b) => b.sum - a.sum || a.a - b.a || a.b - b.b);
    const top = loads.slice(0, BUSIEST);
    const rows = top.map((edge) => {
        const width = (value) => `width:${((value / top[0].sum) * 100).toFixed(2)}%`;
        const name = [nodeName(edge.a), " → ", nodeName(edge.b)].join("");
        return html(
            "li",
            { title: `${name} ${bytes(edge.bytes[0])}, back ${bytes(edge.bytes[1])}, over ${bearerName(edge.bearer)}` },
            html(
                "span",
                { class: "name" },
                name,
                record.bearers.length > 1 ? html("small", {}, bearerName(edge.bearer)) : null,
            ),
            html(
                "span",
                { class: "bar" },
                html("span", { class: "there", style: width(edge.bytes[0]) }),
                html("span", { class: "back", style: width(edge.bytes[1]) }),
            ),
            html("span", { class: "value" }, bytes(edge.sum)),
        );
    });
    const parts = figure(
        title,
        loads.length > BUSIEST ? `${note}; ${BUSIEST} of ${count(loads.length)} that carried any` : note,
    );
    legendOf(
        parts.legend,
        [
            { name: "→ there", colour: colour(0) },
            { name: "← back", colour: colour(5) },
        ],
        true,
    )(["", ""]);
    parts.stage.replaceWith(html("ol", { class: "bars" }, rows));
    return parts.root;
}

function loadDistribution() {
    const [title, note] = ["Load over links", "How many links carried how much"];
    const loads = record.edges.map((edge) => edge.bytes[0] + edge.bytes[1]);
    if (!most([0, ...loads]))
        return emptyFigure(title, note, loads.length ? "No link carried a byte." : "There are no links.");
    const bins = loadBins(loads);
    const parts = figure(title, note);
    const sorted = [...loads].sort((a, b) => a - b);
    const at = (part) => bytes(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]);
    parts.at.textContent = `Median ${at(0.5)}, one in ten above ${at(0.9)}, most ${at(1)}`;
    whenSized(parts.stage, (width) => {
        const ticks = roundTicks(most(bins.map((bin) => bin.links)), 4, true);
        const y = linear(0, ticks[ticks.length - 1], HEIGHT - MARGIN.bottom, MARGIN.top);
        const step = (width - MARGIN.left - MARGIN.right) / bins.length;
        const drawing = drawingOf(
            width,
            HEIGHT,
            `${title}: ${bins.map((bin) => `${bin.links} from ${bin.name}`).join(", ")}`,
        );
        const x = (i) => MARGIN.left + i * step;
        const every = Math.ceil(52 / step);
        drawing.append(
            yAxis(ticks, y, width, count),
            xAxis(
                bins.map((bin, i) => [i + (bin.zero ? 0.5 : 0), bin.name]).filter((_, i) => i % every === 0),
                x,
                width,
                HEIGHT,
            ),
            ...bins.map((bin, i) =>
                svg(
                    "rect",
                    {
                        class: "column",
                        x: x(i) + 1,
                        width: Math.max(1, step - 2),
                        y: y(bin.links),
                        height: y(0) - y(bin.links),
                    },
                    svg(
                        "title",
                        {},
                        `${plural(bin.links, "link")}: ${bin.zero ? "nothing" : `${bin.name} to ${bytes(bin.to, 1)}`}`,
                    ),
                ),
            ),
        );
        parts.stage.replaceChildren(drawing);
    });
    return parts.root;
}

/** Bins of 1, 2 and 5 by decade, with one of its own for links that carried nothing. */
function loadBins(loads) {
    const used = loads.filter((value) => value > 0);
    const [low, high] = [least(used), most(used)];
    const bins = loads.length > used.length ? [{ zero: true, name: "none", links: loads.length - used.length }] : [];
    for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
        for (const [from, to] of [
            [1, 2],
            [2, 5],
            [5, 10],
        ]) {
            const [begin, end] = [Math.round(from * power), Math.round(to * power)];
            if (end <= low || begin > high) continue;
            bins.push({
                to: end,
                name: bytes(begin, 1),
                links: used.filter((value) => value >= begin && value < end).length,
            });
        }
    }
    return bins;
}

function counters() {
    const [title, note] = ["Dropped or refused", "By counter, over all nodes"];
    const list = Object.entries(summary.counters)
        .filter(([, value]) => value > 0)
        .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    if (!list.length) return emptyFigure(title, note, "No node dropped or refused anything.");
    const parts = figure(title, note);
    parts.root.querySelector(".readings").remove();
    parts.stage.replaceWith(
        html(
            "ol",
            { class: "bars" },
            list.map(([name, value]) =>
                html(
                    "li",
                    {},
                    html("span", { class: "name" }, html("code", {}, name)),
                    html(
                        "span",
                        { class: "bar" },
                        html("span", { class: "lost", style: `width:${((value / list[0][1]) * 100).toFixed(2)}%` }),
                    ),
                    html("span", { class: "value" }, count(value)),
                ),
            ),
        ),
    );
    return parts.root;
}

function faultList() {
    if (!record.faults.length) return html("p", { class: "about" }, "No fault was planned.");
    const columns = [
        { title: "Fault", wide: true },
        { title: "From", number: true },
        { title: "Until", number: true },
        { title: "For", number: true },
    ];
    const rows = record.faults.map((fault) =>
        [fault.label, moment(fault.at_s), moment(fault.until_s), duration(fault.until_s - fault.at_s)].map((text, i) =>
            i === 3 ? brief(text) : text,
        ),
    );
    return html(
        "details",
        { class: "faults", open: rows.length <= 6 },
        html("summary", {}, html("span", { class: "swatch fault" }), plural(rows.length, "fault")),
        table("Faults", columns, rows),
    );
}

function plots() {
    return section(
        "plots",
        "Over time",
        "Point at a plot, or use the arrow keys in it, to read all plots at one moment; a click shows that moment in the " +
            "topology. Grey at the ends: warm-up and settling.",
        faultList(),
        html(
            "div",
            { class: "plots" },
            latencyPlot(),
            deliveryPlot(),
            reachablePlot(),
            linksPlot(),
            trafficPlot("Traffic by purpose", "Bytes a second on all links", record.purposes, "purposes", 0),
            trafficPlot("Traffic by bearer", "Bytes a second on all links", record.bearers, "bearers", 2),
            costPlot(),
            queuePlot(),
            busiestLinks(),
            html("div", { class: "pile" }, loadDistribution(), counters()),
        ),
    );
}
