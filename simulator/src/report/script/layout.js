// Layout: where nodes are drawn that all stand on one point.
//
// Few, or linked each with each, stand on a circle in their order. Others are laid out by forces (Fruchterman and
// Reingold, "Graph drawing by force-directed placement", 1991) from a fixed beginning, so that the same network always
// looks the same.

const CIRCLE_UNTIL = 12;
const FORCES_UNTIL = 2500;

function laidOut(count, edges) {
    const pairs = [...new Set(edges.map(({ a, b }) => Math.min(a, b) * count + Math.max(a, b)))];
    const dense = pairs.length > (count * (count - 1)) / 4;
    if (count <= CIRCLE_UNTIL || count > FORCES_UNTIL || dense) return onCircle(count);
    return byForces(
        count,
        pairs.map((pair) => [Math.floor(pair / count), pair % count]),
    );
}

function onCircle(count) {
    return Array.from({ length: count }, (_, i) => {
        const angle = (i / count) * 2 * Math.PI;
        return count === 1 ? [0, 0] : [Math.sin(angle), Math.cos(angle)];
    });
}

function byForces(count, pairs) {
    // On a circle, not quite round: numbers of neighbours are mostly near each other, and rings and lines stay untangled.
    const start = onCircle(count).map(([x, y], i) => [x * (1 - (i % 5) / 25), y * (1 - (i % 5) / 25)]);
    const x = Float64Array.from(start, ([x]) => x);
    const y = Float64Array.from(start, ([, y]) => y);
    const distance = Math.sqrt(Math.PI / count);
    const rounds = Math.max(20, Math.min(200, Math.floor(6e7 / (count * count))));
    const moveX = new Float64Array(count);
    const moveY = new Float64Array(count);
    for (let round = 0; round < rounds; round += 1) {
        moveX.fill(0);
        moveY.fill(0);
        for (let i = 0; i < count; i += 1) {
            for (let j = 0; j < i; j += 1) {
                const [dx, dy] = [x[i] - x[j], y[i] - y[j]];
                const force = (distance * distance) / (dx * dx + dy * dy + 1e-9);
                moveX[i] += dx * force;
                moveY[i] += dy * force;
                moveX[j] -= dx * force;
                moveY[j] -= dy * force;
            }
        }
        for (const [a, b] of pairs) {
            const [dx, dy] = [x[a] - x[b], y[a] - y[b]];
            const force = Math.sqrt(dx * dx + dy * dy) / distance;
            moveX[a] -= dx * force;
            moveY[a] -= dy * force;
            moveX[b] += dx * force;
            moveY[b] += dy * force;
        }
        const heat = 0.15 * (1 - round / rounds) + 0.002;
        for (let i = 0; i < count; i += 1) {
            // What is not linked would drift away for ever: a weak pull to the middle.
            const [fx, fy] = [moveX[i] - x[i] * distance, moveY[i] - y[i] * distance];
            const length = Math.hypot(fx, fy) || 1;
            x[i] += (fx / length) * Math.min(length, heat);
            y[i] += (fy / length) * Math.min(length, heat);
        }
    }
    return Array.from({ length: count }, (_, i) => [x[i], y[i]]);
}

/** Moves nodes that stand on the same spot a little apart, on a spiral: as offsets in pixels. */
function apart(places) {
    const seen = new Map();
    return places.map(([x, y]) => {
        const key = `${x},${y}`;
        const before = seen.get(key) ?? 0;
        seen.set(key, before + 1);
        const radius = 6 * Math.sqrt(before);
        return [radius * Math.cos(before * 2.39996), radius * Math.sin(before * 2.39996)];
    });
}
