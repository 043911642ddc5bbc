// Base: the record, elements, units, and the theme.
//
// Text of a scenario goes into text nodes and attributes only, never into markup. A number that is missing is written as
// a dash, so that no part of the page can show NaN.

const record = JSON.parse(document.getElementById("record").textContent);
const catalogue = JSON.parse(document.getElementById("catalogue").textContent);
const summary = record.summary;
// As text: JavaScript has no whole numbers of 64 bits.
const seed = document.getElementById("main").dataset.seed;
const MISSING = "–";
const THIN = "\u202f";
const SVG = document.querySelector("svg").namespaceURI;

// Elements.

function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
        if (value === null || value === undefined || value === false) continue;
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return element;
}

function html(tag, attributes, ...children) {
    return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
    return filled(document.createElementNS(SVG, tag), attributes, children);
}

function missing(text) {
    return html("p", { class: "missing" }, text);
}

/** A table that scrolls within itself. A column is {title, number, wide}, a cell text or a node. */
function table(label, columns, rows) {
    const classes = (column) => [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") || null;
    return html(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
        html(
            "table",
            {},
            html(
                "thead",
                {},
                html(
                    "tr",
                    {},
                    columns.map((c) => html("th", { scope: "col", class: classes(c) }, c.title)),
                ),
            ),
            html(
                "tbody",
                {},
                rows.map((row) =>
                    html(
                        "tr",
                        {},
                        row.map((cell, i) => html("td", { class: classes(columns[i]) }, cell)),
                    ),
                ),
            ),
        ),
    );
}

function section(id, title, about, ...children) {
    return html(
        "section",
        { id, "aria-labelledby": `${id}-title` },
        html("h2", { id: `${id}-title` }, title),
        about ? html("p", { class: "about" }, about) : null,
        children,
    );
}

/** Calls `draw(width)` now that the element has a width, and whenever it has another. */
function whenSized(element, draw) {
    let drawn = 0;
    new ResizeObserver(([entry]) => {
        const width = Math.floor(entry.contentRect.width);
        if (width > 0 && width !== drawn) {
            drawn = width;
            requestAnimationFrame(() => draw(width));
        }
    }).observe(element);
}

// Numbers and units.

const known = (value) => typeof value === "number" && Number.isFinite(value);

function grouped(text) {
    const [whole, part] = text.split(".");
    const spaced = whole.replace("-", "").length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, THIN) : whole;
    return part === undefined ? spaced : `${spaced}.${part}`;
}

/** So many significant digits, but whole numbers whole. */
function significant(value, digits = 3) {
    if (!known(value)) return MISSING;
    if (value === 0) return "0";
    const power = Math.floor(Math.log10(Math.abs(value)));
    if (power >= 15 || power < -6) return value.toExponential(digits - 1);
    return grouped(value.toFixed(Math.min(9, Math.max(0, digits - 1 - power))));
}

function scaled(value, scales, digits) {
    if (!known(value)) return MISSING;
    const size = Math.abs(value);
    // A value that rounds up to the next unit is written in that unit.
    const [factor, unit] = scales.find(([factor]) => size >= factor * 0.9995) ?? scales[scales.length - 1];
    return `${significant(value / factor, digits)} ${unit}`;
}

const count = (value) => (known(value) && Number.isInteger(value) ? grouped(String(value)) : significant(value));
const bytes = (value, digits = 3) =>
    known(value) && Math.abs(value) < 999.5
        ? `${Number.isInteger(value) ? value : significant(value, 2)} B`
        : scaled(
              value,
              [
                  [1e12, "TB"],
                  [1e9, "GB"],
                  [1e6, "MB"],
                  [1e3, "kB"],
              ],
              digits,
          );
const byteRate = (value, digits) => (known(value) ? `${bytes(value, digits)}/s` : MISSING);
const money = (value) =>
    !known(value)
        ? MISSING
        : value === 0
          ? "0"
          : Math.abs(value) < 0.1
            ? significant(value, 2)
            : grouped(value.toFixed(2));

function duration(seconds, digits = 3) {
    if (seconds === 0) return "0 s";
    const size = Math.abs(seconds);
    if (size >= 2 * 86400) return scaled(seconds, [[86400, "d"]], digits);
    if (size >= 7200) return scaled(seconds, [[3600, "h"]], digits);
    if (size >= 120) return scaled(seconds, [[60, "min"]], digits);
    return scaled(
        seconds,
        [
            [1, "s"],
            [1e-3, "ms"],
            [1e-6, "µs"],
        ],
        digits,
    );
}

/** Per cent, with as many decimals as it takes not to be rounded to all. */
function share(value, decimals) {
    if (!known(value)) return MISSING;
    if (decimals === undefined) {
        const open = Math.min(Math.abs(1 - value), Math.abs(value));
        decimals = open === 0 ? 0 : Math.min(6, Math.max(1, Math.ceil(-Math.log10(open)) - 1));
    }
    return `${(value * 100).toFixed(decimals)} %`;
}

/** Without zeros after the point that say nothing. */
const brief = (text) => text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");

const joules = (value) =>
    value === 0
        ? "0 J"
        : scaled(value, [
              [1e6, "MJ"],
              [1e3, "kJ"],
              [1, "J"],
              [1e-3, "mJ"],
          ]);

const UNITS = { count, share, seconds: duration, bytes, rate: byteRate, money, joules };

/** A moment of virtual time. */
function moment(seconds) {
    if (!known(seconds)) return MISSING;
    if (span() < 120) return `${seconds.toFixed(span() < 10 ? 2 : 1)} s`;
    const whole = Math.floor(seconds + 1e-9);
    const two = (value) => String(value).padStart(2, "0");
    const days = Math.floor(whole / 86400);
    const clock = `${Math.floor(whole / 3600) % 24}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
    return days > 0 ? `${days} d ${clock}` : clock;
}

/** Seconds of virtual time that the page draws. */
function span() {
    const last = record.samples[record.samples.length - 1];
    return Math.max(record.times.end_s || 0, summary.virtual_s || 0, last ? last.at_s : 0) || 1;
}

/** A metric's entry in the catalogue, from its key or from the text of an expectation. */
function metricOf(text) {
    const name = /^\s*([a-z_.0-9]+)/.exec(text)?.[1];
    return catalogue.find((entry) => entry.name === name);
}

function metricValue(key, value) {
    return (UNITS[metricOf(key)?.unit] ?? significant)(value);
}

/** Says it to who listens instead of looking. */
function speak(text) {
    document.getElementById("spoken").textContent = text;
}

const nodeName = (index) => record.nodes[index]?.name ?? `node ${index}`;
const bearerName = (index) => record.bearers[index] ?? `bearer ${index}`;
// A fault that never ends has no end in JSON.
for (const fault of record.faults) fault.until_s ??= span();

const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// Colours. Eight that colour-blind people tell apart, then the same with dashes.

const COLOURS = 8;
const colour = (index) => `var(--c${index % COLOURS})`;
const dashes = (index) => [null, "6 3", "2 3", "8 3 2 3"][Math.floor(index / COLOURS) % 4];

/** What a colour of the style sheet comes to under the present theme. */
function cssColour(name) {
    const probe = html("span", { style: `color:var(${name})` });
    document.body.append(probe);
    const resolved = getComputedStyle(probe).color;
    probe.remove();
    return resolved;
}

// The theme: the system's, until the reader chooses.

const themed = [];

function theme() {
    const button = document.getElementById("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const root = document.documentElement;
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const tell = () => {
        button.textContent = dark() ? "Light" : "Dark";
        button.setAttribute("aria-label", dark() ? "Switch to light colours" : "Switch to dark colours");
        for (const redraw of themed) redraw();
    };
    button.addEventListener("click", () => {
        root.dataset.theme = dark() ? "light" : "dark";
        try {
            localStorage.setItem("m2mesh-sim-theme", root.dataset.theme);
        } catch (forbidden) {
            // Without storage the choice lasts as long as the page.
        }
        tell();
    });
    system.addEventListener("change", tell);
    button.hidden = false;
    tell();
}
