// Map: what the topology has besides where nodes stand on coordinates: a scale, and how far bearers reach.

const reaches = (record.carriers ?? []).map((carrier) => carrier.reach);
const SCALE_ROOM = 130;

/** Metres over which a node reaches, each distance once: by the bearers of its possible links. */
const reachesOf = (() => {
    const of = record.nodes.map(() => new Set());
    for (const { a, b, bearer } of record.edges) {
        if (!known(reaches[bearer])) continue;
        of[a]?.add(bearer);
        of[b]?.add(bearer);
    }
    return (node) => [...of[node]].sort((one, other) => reaches[one] - reaches[other]);
})();

const metres = (value) => brief(value >= 1000 ? `${significant(value / 1000)} km` : `${significant(value)} m`);

/** Circles of reach: of all nodes where that is asked for, else of the one in focus. */
function drawReach(context, focus) {
    if (!view.onMap) return;
    const whose = view.reach ? record.nodes.map((_, i) => i) : focus === null ? [] : [focus];
    context.lineWidth = 1;
    for (const node of whose) {
        const [x, y] = view.points[node];
        for (const bearer of reachesOf(node)) {
            context.beginPath();
            context.arc(x, y, reaches[bearer] * view.scale, 0, 2 * Math.PI);
            context.strokeStyle = view.colours.groups[bearer % COLOURS];
            context.fillStyle = view.colours.groups[bearer % COLOURS];
            context.globalAlpha = node === focus ? 0.1 : 0.03;
            context.fill();
            context.globalAlpha = node === focus ? 0.9 : 0.25;
            context.stroke();
        }
    }
    context.globalAlpha = 1;
}

/** A bar of a round length, at the lower left. */
function drawScale(context) {
    if (!view.onMap) return;
    const most = SCALE_ROOM / view.scale;
    const power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((factor) => factor * power).find((one) => one <= most) ?? power;
    const [x, y, wide] = [14.5, Math.round(view.height) - 16.5, length * view.scale];
    context.strokeStyle = view.colours.text;
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(x, y - 5);
    context.lineTo(x, y);
    context.lineTo(x + wide, y);
    context.lineTo(x + wide, y - 5);
    context.stroke();
    context.font = `12px ${view.colours.font}`;
    context.textAlign = "left";
    context.lineWidth = 3;
    context.strokeStyle = view.colours.paper;
    context.strokeText(metres(length), x + 5, y - 6);
    context.fillStyle = view.colours.text;
    context.fillText(metres(length), x + 5, y - 6);
}

/** A box to show how far all reach, where any bearer has a reach. */
function reachChoice() {
    const ranged = record.bearers.map((name, i) => [name, reaches[i], i]).filter(([, reach]) => known(reach));
    if (!view.onMap || !ranged.length) return null;
    return [
        html("h3", {}, "Reach"),
        html(
            "ul",
            {},
            ranged.map(([name, reach, i]) =>
                html(
                    "li",
                    {},
                    html("span", { class: "swatch round", style: `background:${colour(i)}` }),
                    html("span", {}, name),
                    html("b", {}, metres(reach)),
                ),
            ),
            html(
                "li",
                {},
                html(
                    "label",
                    {},
                    html("input", {
                        type: "checkbox",
                        onchange: (event) => {
                            view.reach = event.target.checked;
                            view.redraw();
                        },
                    }),
                    " of all nodes",
                ),
            ),
        ),
    ];
}
