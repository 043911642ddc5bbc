// Costs: what devices send over bearers in a month at the rate of the measured time, and what that costs.

const MONTH = 30 * 86400;

function costsSection() {
    const title = "A month";
    const spending = record.spending ?? [];
    const measured = record.times.end_s - record.times.warm_s;
    if (!spending.length || !(measured > 0))
        return section("month", title, null, missing("No device sent anything after the warm-up."));
    const months = measured / MONTH;
    const priced = record.bearers.map((_, i) => spending.some((spent) => spent.bearer === i && spent.cost > 0));
    const used = record.bearers.map((_, i) => i).filter((i) => spending.some((spent) => spent.bearer === i));
    const byNode = new Map();
    for (const { node, bearer, bytes: sent, cost } of spending) {
        if (!byNode.has(node)) byNode.set(node, new Map());
        byNode.get(node).set(bearer, { sent: sent / months, cost: cost / months });
    }
    const sum = (of, key) => [...of.values()].reduce((all, one) => all + one[key], 0);
    const nodes = [...byNode.keys()].sort(
        (one, other) =>
            sum(byNode.get(other), "cost") - sum(byNode.get(one), "cost") ||
            sum(byNode.get(other), "sent") - sum(byNode.get(one), "sent") ||
            one - other,
    );
    const columns = [
        { title: "Device", wide: true },
        ...used.flatMap((i) => [
            { title: `Sent over ${bearerName(i)}`, number: true },
            ...(priced[i] ? [{ title: `Cost over ${bearerName(i)}`, number: true }] : []),
        ]),
        ...(priced.some(Boolean) ? [{ title: "Cost in all", number: true }] : []),
    ];
    const row = (name, of) => [
        name,
        ...used.flatMap((i) => [
            of.has(i) ? bytes(of.get(i).sent) : MISSING,
            ...(priced[i] ? [of.has(i) ? money(of.get(i).cost) : MISSING] : []),
        ]),
        ...(priced.some(Boolean) ? [money(sum(of, "cost"))] : []),
    ];
    const whole = new Map();
    for (const of of byNode.values()) {
        for (const [bearer, { sent, cost }] of of) {
            const before = whole.get(bearer) ?? { sent: 0, cost: 0 };
            whole.set(bearer, { sent: before.sent + sent, cost: before.cost + cost });
        }
    }
    const rows = [row(html("strong", {}, "All devices"), whole), ...nodes.map((i) => row(nodeName(i), byNode.get(i)))];
    const view = table("A month by device and bearer", columns, rows);
    if (rows.length > 14) view.classList.add("tall");
    return section(
        "month",
        title,
        `What devices send in 30 days at the rate of the ${brief(duration(measured))} after the warm-up` +
            (priced.some(Boolean) ? ", and what that costs, in units of money." : ". No bearer that was used asks a price."),
        view,
    );
}
