// The answer in detail: expectations, checks across nodes, how to run it again; key figures as tiles; all metrics, the
// scenario's text, and what the run cost to compute.

function verdictMark(good, yes, no) {
    return html(
        "span",
        { class: good ? "mark good" : "mark bad" },
        good ? "✓" : "✗",
        html("span", {}, ` ${good ? yes : no}`),
    );
}

function marginText(verdict) {
    if (!known(verdict.margin)) return MISSING;
    const sign = verdict.margin > 0 ? "+" : verdict.margin < 0 ? "−" : "";
    const size = Math.abs(verdict.margin);
    if (verdict.wanted === 0) return `${sign}${metricValue(verdict.decided ?? verdict.text, size)}`;
    return `${sign}${size !== 0 && size < 0.001 ? significant(size * 100, 2) : (size * 100).toFixed(1)} %`;
}

function expectations() {
    const list = summary.expectations;
    if (!list.length)
        return [
            html("h3", {}, "Expectations"),
            missing("The scenario expects nothing, so there is nothing to hold or to miss."),
        ];
    const rows = list.map((verdict) => [
        verdictMark(verdict.held, "holds", "does not hold"),
        html("code", {}, verdict.text),
        verdict.found === null
            ? html("span", { class: "note" }, "nothing to measure")
            : metricValue(verdict.decided ?? verdict.text, verdict.found),
        brief(metricValue(verdict.decided ?? verdict.text, verdict.wanted)),
        marginText(verdict),
    ]);
    const columns = [
        { title: "" },
        { title: "Expected", wide: true },
        { title: "Found", number: true },
        { title: "Wanted", number: true },
        { title: "Margin", number: true },
    ];
    return [html("h3", {}, "Expectations"), table("Expectations", columns, rows)];
}

function checkMark(check) {
    if (check.violated > 0) return verdictMark(false, "", "violated");
    return check.looked > 0
        ? verdictMark(true, "kept", "")
        : html("span", { class: "mark" }, MISSING, html("span", {}, " not seen"));
}

function checks() {
    const list = summary.checks;
    if (!list.length) return [html("h3", {}, "Checks across nodes"), missing("No check was made.")];
    const rows = list.map((check) => [
        checkMark(check),
        html(
            "div",
            {},
            html("code", {}, check.name),
            html("span", { class: "promise" }, check.promise),
            check.examples.length
                ? html(
                      "details",
                      { open: true },
                      html("summary", {}, `First ${plural(check.examples.length, "violation")}`),
                      html(
                          "ul",
                          { class: "examples" },
                          check.examples.map((example) => html("li", {}, example)),
                      ),
                  )
                : null,
        ),
        count(check.looked),
        count(check.violated),
    ]);
    const columns = [
        { title: "" },
        { title: "Promise", wide: true },
        { title: "Looked at", number: true },
        { title: "Violated", number: true },
    ];
    return [html("h3", {}, "Checks across nodes"), table("Checks across nodes", columns, rows)];
}

/** This file's name as a shell takes it. */
function ownName() {
    let name = "";
    try {
        name = decodeURIComponent(location.pathname.split("/").pop());
    } catch (malformed) {
        // A path that is no text has no name to show.
    }
    if (!name) name = "REPORT.html";
    return /^[\w.+-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}

function facts(pairs) {
    return html(
        "dl",
        { class: "facts" },
        pairs
            .filter(([, value]) => value !== null && value !== "")
            .map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))),
    );
}

function source() {
    const set = summary.set.length ? summary.set : record.source.set;
    return [
        html("h3", {}, "The run"),
        facts([
            ["Run again", html("code", { class: "command" }, `m2mesh-sim replay ${ownName()}`)],
            ["Seed", html("code", {}, seed)],
            ["Trace hash", summary.trace ? html("code", { class: "hash" }, summary.trace) : MISSING],
            ["Virtual time", brief(duration(summary.virtual_s))],
            ["Clock at start", record.times.start.replace("T", " ").replace(/Z$/, " UTC")],
            [
                "Traffic",
                record.times.calm_s > record.times.warm_s
                    ? `${moment(record.times.warm_s)} to ${moment(record.times.calm_s)}`
                    : "none",
            ],
            ["Devices", count(summary.nodes)],
            ["Settings", set.length ? html("code", {}, set.join("  ")) : "as in the file"],
            ["Version", record.source.version],
        ]),
    ];
}

function answer() {
    return section(
        "answer",
        "Answer",
        null,
        html("div", { class: "halves" }, html("div", {}, expectations(), checks()), html("div", {}, source())),
    );
}

function tile(name, value, note, bad) {
    return html(
        "div",
        { class: bad ? "tile bad" : "tile" },
        html("dt", {}, name),
        html("dd", {}, html("strong", {}, value), html("span", {}, note ?? "")),
    );
}

function tiles() {
    const metric = (key) => summary.metrics[key];
    const text = (key) => metricValue(key, metric(key));
    const of = (part, whole) => (known(part) && whole > 0 ? `${share(part / whole, 1)} of them useful` : "");
    const dropped = Object.values(summary.counters).reduce((sum, value) => sum + value, 0);
    const violations = metric("violations") ?? summary.checks.reduce((sum, check) => sum + check.violated, 0);
    const looked = summary.checks.reduce((sum, check) => sum + check.looked, 0);
    return section(
        "figures",
        "Key figures",
        null,
        html(
            "dl",
            { class: "tiles" },
            tile(
                "Delivered",
                text("delivered"),
                known(metric("sent")) ? `of ${plural(metric("sent"), "message")}` : "nothing was sent",
            ),
            tile("Latency, median", text("latency.p50"), "to the application"),
            tile(
                "Latency, 99 %",
                text("latency.p99"),
                known(metric("latency.max")) ? `longest ${duration(metric("latency.max"))}` : "",
            ),
            tile("Bytes on links", text("bytes.total"), of(metric("bytes.useful"), metric("bytes.total"))),
            tile("Cost", text("cost.total"), metric("cost.total") === 0 ? "no bearer asks a price" : "units of money"),
            metric("cost.month") > 0
                ? tile(
                      "Cost, a device a month",
                      text("cost.month"),
                      `${text("cost.month.payload")} for messages, ${text("cost.month.control")} for being there`,
                  )
                : null,
            tile(
                "Reachable, mean",
                text("reachable.mean"),
                known(metric("reachable.min")) ? `at worst ${share(metric("reachable.min"))}` : "",
            ),
            tile(
                "Violations",
                count(violations),
                looked ? `looked ${plural(looked, "time")}` : "nothing was checked",
                violations > 0,
            ),
            tile("Dropped or refused", count(metric("dropped") ?? dropped), "by nodes, at a bound"),
        ),
    );
}

function metricsSection() {
    const order = (key) => {
        const place = catalogue.indexOf(metricOf(key));
        return place < 0 ? catalogue.length : place;
    };
    const keys = Object.keys(summary.metrics).sort((a, b) => order(a) - order(b) || (a < b ? -1 : 1));
    if (!keys.length) return section("metrics", "All metrics", null, missing("Nothing was measured."));
    const columns = [{ title: "Metric" }, { title: "Value", number: true }, { title: "What it says", wide: true }];
    const view = table(
        "Metrics",
        columns,
        keys.map((key) => [html("code", {}, key), metricValue(key, summary.metrics[key]), metricOf(key)?.about ?? ""]),
    );
    view.classList.add("tall");
    const rows = [...view.querySelectorAll("tbody tr")];
    const none = missing("No metric has that in its name or description.");
    const told = html("span", { class: "told", role: "status" }, plural(keys.length, "metric"));
    none.hidden = true;
    const search = html("input", {
        type: "search",
        id: "metric-search",
        placeholder: "latency, class=alarm, …",
        autocomplete: "off",
        spellcheck: "false",
        oninput: (event) => {
            const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
            let shown = 0;
            for (const row of rows) {
                const text = row.textContent.toLowerCase();
                row.hidden = !words.every((word) => text.includes(word));
                shown += row.hidden ? 0 : 1;
            }
            told.textContent = words.length
                ? `${count(shown)} of ${plural(keys.length, "metric")}`
                : plural(keys.length, "metric");
            none.hidden = shown > 0;
            view.hidden = shown === 0;
        },
    });
    return section(
        "metrics",
        "All metrics",
        null,
        html("p", { class: "search" }, html("label", { for: "metric-search" }, "Search"), search, told),
        view,
        none,
    );
}

function folded(title, text) {
    return html(
        "details",
        { class: "file" },
        html("summary", {}, title),
        text ? html("pre", { tabindex: 0 }, text) : missing("The text was not recorded."),
    );
}

function scenarioSection() {
    const { file, text, files } = record.source;
    return section(
        "scenario",
        "Scenario",
        "What the run was made of, with the seed above: enough to run it again.",
        folded(file || "Scenario", text),
        Object.entries(files).map(([name, content]) => folded(name, content)),
    );
}

function performanceSection() {
    const { wall_s, cpu_s, peak_rss, events, polls } = record.performance;
    const per = (part, whole) => (whole > 0 ? part / whole : null);
    const speed = per(summary.virtual_s, wall_s);
    return section(
        "performance",
        "Performance",
        "What the run cost to compute. Not the same from run to run.",
        facts([
            ["Speed", known(speed) ? `${significant(speed)} × real time` : "not measured"],
            ["Time on the wall", wall_s > 0 ? duration(wall_s) : "not measured"],
            ["Processor", cpu_s > 0 ? duration(cpu_s) : "not measured"],
            ["Memory, at most", peak_rss > 0 ? bytes(peak_rss) : "not measured"],
            [
                "Events",
                known(per(events, wall_s))
                    ? `${count(events)} (${significant(per(events, wall_s))} a second)`
                    : count(events),
            ],
            ["Tasks polled", count(polls)],
        ]),
    );
}
