#!/usr/bin/env python3
"""Write the shapes of the world map of reports, src/report/world/world.txt.

    python3 scripts/make_world_map.py                    # packs world-atlas with npm
    python3 scripts/make_world_map.py countries-50m.json # the same from a file at hand

Countries of Natural Earth at 1:50 million, as the npm package world-atlas has them, in the Natural Earth projection, simplified after Visvalingam with the borders that two countries share kept one line, rounded to whole units of a drawing
2000 wide. Antarctica is left out. Standard library only; the same input gives the same bytes.
"""
import heapq
import json
import math
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "2.0.2"
OUTPUT = Path(__file__).resolve().parent.parent / "src/report/world/world.txt"
WIDTH = 2000
CUT = -168.6  # degrees of the map's left end, in the Bering Strait, so that no country is torn apart
NORTH = 83.7  # degrees of its upper end
LEAST_AREA = 1.6  # of the triangle of a point and its neighbours, in square units: a smaller one is left out
LEAST_RING = 8.0  # square units; a smaller island is left out, but for the largest of its country
SMALL = 120.0  # square units: a country below is drawn as a dot too
LEFT_OUT = {"Antarctica"}

HEAD = f"""\
# The countries of the world map, one line each: name, ISO 3166-1 numeric code, place of its dot or nothing, path of an SVG.
# A map 2000 wide in the Natural Earth projection, made by scripts/make_world_map.py from countries-50m.json of the npm package
# world-atlas {VERSION} (ISC licence, see src/report/world/LICENSE), which is Natural Earth's Admin 0 countries at 1:50m, public domain.
# Borders are Natural Earth's, as the territories are held in fact; they state no opinion on any claim.
"""


def project(longitude, latitude):
    """Natural Earth projection (Savric, Jenny, Patterson, Petrovic and Hurni, 2011), longitudes CUT to CUT + 360 onto 0 to WIDTH."""

    def plane(degrees, latitude):
        p = math.radians(latitude)
        width = 0.8707 - 0.131979 * p**2 - 0.013791 * p**4 + 0.003971 * p**10 - 0.001529 * p**12
        height = 1.007226 + 0.015085 * p**2 - 0.044475 * p**6 + 0.028874 * p**8 - 0.005916 * p**10
        return math.radians(degrees) * width, p * height

    half, _ = plane(180, 0)
    _, top = plane(0, NORTH)
    x, y = plane((longitude - CUT) % 360 - 180, latitude)
    scale = WIDTH / (2 * half)
    return (x + half) * scale, (top - y) * scale


def area(ring):
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1])) / 2


def simplified(points):
    """The points of an arc without those whose triangle is small, smallest first; the ends stay."""
    count = len(points)
    before, after, alive = list(range(-1, count - 1)), list(range(1, count + 1)), [True] * count
    triangle = lambda i: abs(area([points[before[i]], points[i], points[after[i]]]))
    heap = [(triangle(i), i) for i in range(1, count - 1)]
    sizes = dict((i, size) for size, i in heap)
    heapq.heapify(heap)
    while heap and heap[0][0] < LEAST_AREA:
        size, i = heapq.heappop(heap)
        if not alive[i] or sizes[i] != size:
            continue
        alive[i] = False
        after[before[i]], before[after[i]] = after[i], before[i]
        for j in (before[i], after[i]):
            if 0 < j < count - 1:
                sizes[j] = max(size, triangle(j))
                heapq.heappush(heap, (sizes[j], j))
    return [point for point, kept in zip(points, alive) if kept]


def arcs_of(topology):
    """Every arc, projected: as it is, and simplified and rounded."""
    (kx, ky), (x0, y0) = topology["transform"]["scale"], topology["transform"]["translate"]
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            points.append(project(x * kx + x0, y * ky + y0))
        closed = points[0] == points[-1]
        # A ring of one arc is cut in two, since its ends alone would be left of it.
        middle = len(points) // 2 if closed else 0
        parts = [points[: middle + 1], points[middle:]] if closed else [points]
        kept = [parts[0][0]] + [point for part in parts for point in simplified(part)[1:]]
        yield points, [(round(x), round(y)) for x, y in kept]


def ring_of(arcs, indices, which):
    ring = []
    for index in indices:
        arc = arcs[index][which] if index >= 0 else arcs[~index][which][::-1]
        ring.extend(arc[1:] if ring else arc)
    return ring[:-1] if ring[0] == ring[-1] else ring


def without_repeats(ring):
    kept = [point for i, point in enumerate(ring) if point != ring[i - 1]]
    return kept if len(kept) > 2 else []


def is_shown(ring):
    """Neither without area nor an island across the map's end."""
    return ring and abs(area(ring)) >= 1 and max(x for x, _ in ring) - min(x for x, _ in ring) < WIDTH / 2


def path_of(ring):
    """Relative moves in whole numbers; a minus sign separates numbers too."""
    x, y = ring[0]
    text = f"M{x} {y}"
    numbers = []
    for to_x, to_y in ring[1:]:
        numbers += [to_x - x, to_y - y]
        x, y = to_x, to_y
    steps = "".join(f"{'' if number < 0 or not i else ' '}{number}" for i, number in enumerate(numbers))
    return f"{text}l{steps}z"


def country(geometry, arcs):
    polygons = geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]
    exact = [ring_of(arcs, polygon[0], 0) for polygon in polygons]
    total = sum(abs(area(ring)) for ring in exact)
    largest = max(range(len(exact)), key=lambda i: abs(area(exact[i])))
    rings = []
    for i, polygon in enumerate(polygons):
        if i != largest and abs(area(exact[i])) < LEAST_RING:
            continue
        rings += [ring for ring in (without_repeats(ring_of(arcs, indices, 1)) for indices in polygon) if is_shown(ring)]
    dot = ""
    if total < SMALL:
        dot = " ".join(f"{sum(point[axis] for point in exact[largest]) / len(exact[largest]):.0f}" for axis in (0, 1))
    return dot, "".join(path_of(ring) for ring in rings)


def packed():
    """countries-50m.json and the licence out of the package that npm packs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"world-atlas@{VERSION}"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(Path(folder) / f"world-atlas-{VERSION}.tgz") as package:
            read = lambda name: package.extractfile(f"package/{name}").read().decode()
            return read("countries-50m.json"), read("LICENSE")


def main():
    licence = None
    if len(sys.argv) > 1:
        text = Path(sys.argv[1]).read_text(encoding="utf-8")
    else:
        text, licence = packed()
    topology = json.loads(text)
    arcs = list(arcs_of(topology))
    lines = []
    for geometry in topology["objects"]["countries"]["geometries"]:
        name = geometry["properties"]["name"]
        if name not in LEFT_OUT:
            dot, path = country(geometry, arcs)
            lines.append(f"{name};{geometry.get('id', '')};{dot};{path}")
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(HEAD + "\n".join(sorted(lines)) + "\n", encoding="utf-8")
    if licence:
        (OUTPUT.parent / "LICENSE").write_text(licence, encoding="utf-8")
    print(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes, {len(lines)} countries")


if __name__ == "__main__":
    main()
