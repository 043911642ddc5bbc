// Missed: which publications did not reach everybody by their deadline, and whom.

const NAMED = 12;

function missedSection() {
    const [id, title] = ["missed", "Missed publications"];
    const owed = summary.metrics["publications.owed"] ?? 0;
    const all = summary.metrics["publications.missed"] ?? 0;
    const list = record.missed ?? [];
    if (!list.length) {
        const text = owed
            ? `None: all ${plural(owed, "copy that was", "copies that were")} owed to a subscription ${owed === 1 ? "was" : "were"} heard in time.`
            : "No publication was owed to anybody.";
        return section(id, title, null, missing(text));
    }
    const publications = new Map();
    for (const missed of list) {
        if (!publications.has(missed.message)) publications.set(missed.message, []);
        publications.get(missed.message).push(missed);
    }
    const who = (missed) =>
        nodeName(missed.to) + (known(missed.late_s) ? ` (${brief(duration(missed.late_s))} late)` : "");
    const rows = [...publications.values()]
        .sort((one, other) => one[0].at_s - other[0].at_s || one[0].message - other[0].message)
        .map((of) => [
            moment(of[0].at_s),
            html("code", {}, of[0].topic || of[0].flow),
            nodeName(of[0].from),
            count(of.length),
            of.slice(0, NAMED).map(who).join(", ") + (of.length > NAMED ? ` and ${count(of.length - NAMED)} more` : ""),
        ]);
    const columns = [
        { title: "Handed over", number: true },
        { title: "Topic" },
        { title: "By" },
        { title: "Missed by", number: true },
        { title: "Who", wide: true },
    ];
    const view = table("Missed publications", columns, rows);
    if (rows.length > 14) view.classList.add("tall");
    const told = all > list.length ? ` Listed are the first ${count(list.length)} of ${count(all)}.` : "";
    return section(
        id,
        title,
        `${plural(all || list.length, "copy was", "copies were")} not heard by the deadline` +
            (owed ? `, of ${count(owed)} that were owed.` : ".") +
            told,
        view,
    );
}
