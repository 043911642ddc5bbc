// Page: the sections in their order, and the contents. A section that fails to draw says so in its place, and the others
// stand.

const SECTIONS = [
    ["Answer", answer],
    ["Key figures", tiles],
    ["Over time", plots],
    ["Topology", topologySection],
    ["A month", costsSection],
    ["Messages", messagesSection],
    ["Missed", missedSection],
    ["Metrics", metricsSection],
    ["Scenario", scenarioSection],
    ["Performance", performanceSection],
];

function build() {
    const main = document.getElementById("main");
    const contents = document.getElementById("contents");
    for (const [name, make] of SECTIONS) {
        let made;
        try {
            made = make();
        } catch (error) {
            console.error(error);
            made = section(
                name.toLowerCase().replace(" ", "-"),
                name,
                null,
                missing(`This part could not be drawn: ${error.message}.`),
            );
        }
        main.append(made);
        contents.append(html("a", { href: `#${made.id}` }, name));
    }
    theme();
}

build();
