// Messages: the life of chosen ones as a waterfall. Each row is a step; its bar runs from the step that led to it. In a
// message to one node that is the step before; in a publication, where many receive at once, the last at the same node,
// or else the handing over.

const SHOWN_STEPS = 40;

function messagesSection() {
    const [title, about] = [
        "Messages",
        "Single messages step by step: the slowest, typical ones, and those that failed.",
    ];
    if (!record.messages.length)
        return section(
            "messages",
            title,
            about,
            missing("No message was chosen: none was sent, or none was followed."),
        );
    const stage = html("div", { class: "waterfall" });
    const buttons = record.messages.map((message, i) =>
        html(
            "button",
            { type: "button", "aria-pressed": "false", onclick: () => show(i) },
            html("span", { class: "chosen" }, message.chosen || "chosen"),
            html("span", { class: "route" }, route(message)),
            html("small", {}, `${message.flow}, ${message.outcome || "no outcome"}`),
            html("span", { class: "took" }, took(message)),
        ),
    );
    const show = (index) => {
        buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
        stage.replaceChildren(...waterfall(record.messages[index], SHOWN_STEPS));
    };
    show(0);
    return section(
        "messages",
        title,
        about,
        html(
            "div",
            { class: "list-and-detail" },
            html("div", { class: "choices", role: "group", "aria-label": "Chosen messages" }, buttons),
            stage,
        ),
    );
}

function took(message) {
    const { steps } = message;
    return steps.length > 1 ? duration(steps[steps.length - 1].at_s - steps[0].at_s) : MISSING;
}

/** Index of the step that led to each. */
function causes(message) {
    const last = new Map();
    return message.steps.map((step, i) => {
        const cause = message.to === null ? (last.get(step.node) ?? 0) : Math.max(0, i - 1);
        last.set(step.node, i);
        return cause;
    });
}

function route(message) {
    return `${nodeName(message.from)} → ${message.to === null ? "all who subscribe" : nodeName(message.to)}`;
}

function waterfall(message, shown) {
    const { steps } = message;
    const what = `Message ${message.id} of ${message.flow}, ${bytes(message.size)}`;
    const when = steps.length ? moment(steps[0].at_s) : "an unknown time";
    const outcome = message.outcome || "no outcome was told";
    const head = [
        html("h3", {}, route(message)),
        html("p", { class: "about" }, `${what}, handed over at ${when}: ${outcome}.`),
    ];
    if (!steps.length) return [...head, missing("No step of it was recorded.")];
    const [begin, end] = [steps[0].at_s, Math.max(steps[steps.length - 1].at_s, steps[0].at_s)];
    const part = (time) => `${(end > begin ? (time / (end - begin)) * 100 : 0).toFixed(3)}%`;
    const stretch = (from, until) => `left:${part(from - begin)};width:calc(${part(until - from)} + 2px)`;
    const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => (share ? brief(duration(share * (end - begin))) : "0"));
    const struck = record.faults.filter((fault) => fault.at_s <= end && fault.until_s >= begin);
    const bands = struck.map((fault) => {
        const style = stretch(Math.max(begin, fault.at_s), Math.min(end, fault.until_s));
        return html("span", { class: "band", title: fault.label, style });
    });
    const labels = struck.map((fault) => fault.label).join(", ");
    const swatch = html("span", { class: "swatch fault" });
    const during = html("p", { class: "struck", hidden: !struck.length }, swatch, `While it was under way: ${labels}`);
    const axis = html("span", { class: "lane" }, ...ticks.map((tick) => html("span", {}, tick)));
    const chart = html(
        "div",
        { class: "steps" },
        html("div", { class: "axis-row", "aria-hidden": "true" }, axis),
        html("div", { class: "behind", "aria-hidden": "true" }, html("span", { class: "lane" }, bands)),
        html("ol", {}, rowsOf(message, stretch).slice(0, shown)),
    );
    return [...head, during, chart, ...(steps.length > shown ? [allSteps(message)] : [])];
}

function rowsOf(message, stretch) {
    const { steps } = message;
    const before = causes(message);
    const nodes = [...new Set(steps.map((step) => step.node))];
    // Among many nodes colours tell the sender only.
    const shadeOf = (node) => colour(nodes.length > COLOURS ? Number(node === message.from) : nodes.indexOf(node));
    return steps.map((step, i) => {
        const from = steps[before[i]].at_s;
        const shade = `background:${shadeOf(step.node)}`;
        const name = [html("span", { class: "swatch round", style: shade }), html("b", {}, nodeName(step.node))];
        const after = i === 0 ? moment(step.at_s) : `+${duration(step.at_s - from)}`;
        return html(
            "li",
            {},
            html("span", { class: "step" }, name, ` ${step.what}`),
            html(
                "span",
                { class: "lane" },
                html("span", { class: "run", style: `${stretch(from, step.at_s)};${shade}` }),
            ),
            html("span", { class: "after", title: `at ${step.at_s} s` }, after),
        );
    });
}

function allSteps(message) {
    const { length } = message.steps;
    const show = (event) => event.target.closest(".waterfall").replaceChildren(...waterfall(message, length));
    return html("button", { type: "button", class: "quiet", onclick: show }, `Show all ${count(length)} steps`);
}
