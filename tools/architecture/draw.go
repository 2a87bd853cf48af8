package main

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
)

const (
	width  = 1200
	margin = 40
)

// draw writes the picture: the way of the data above, the imports below.
func draw(out io.Writer, rows []row, imports map[string][]string) {
	const tableTop = 700
	height := tableTop + 130 + len(rows)*cell + 40
	p := pen{out}
	p.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title">`,
		width, height, width, height)
	p.put(`<title id="title">capmgr: the way of the data, and who imports whom</title>`)
	p.put("<style>%s</style>", style)
	p.put(`<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">` +
		`<path class="tip" d="M0 0 10 5 0 10z"/></marker></defs>`)
	p.put(`<rect class="page" width="%d" height="%d" rx="10"/>`, width, height)
	drawFlow(p)
	drawImports(p, tableTop, rows, imports)
	p.put("</svg>")
}

// style keeps to names that every browser has a font for, and follows the reader's light or dark.
const style = `
text{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;font-size:14px;fill:#1f2933}
.name{font-family:ui-monospace,Menlo,Consolas,monospace;font-weight:600;font-size:15px}
.mono{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px}
.title{font-size:22px;font-weight:600}
.section{font-size:17px;font-weight:600}
.soft{fill:#52606d;font-size:13px}
.page{fill:#ffffff}
.room{fill:#f5f7fa;stroke:#7b8794;stroke-width:1.2}
.world{fill:#e4e7eb;stroke:#9aa5b1;stroke-width:1.2}
.value{fill:#fff3c4;stroke:#cb6e17;stroke-width:1.4}
.pure{fill:#e3f8ff;stroke:#127fbf;stroke-width:1.4;stroke-dasharray:6 4}
.writer{fill:#ffe3e3;stroke:#ba2525;stroke-width:1.4}
.flow{fill:none;stroke:#323f4b;stroke-width:1.8;marker-end:url(#head)}
.side{fill:none;stroke:#7b8794;stroke-width:1.5;stroke-dasharray:5 4;marker-end:url(#head)}
.tip{fill:#323f4b}
.grid{stroke:#cbd2d9;stroke-width:1;fill:none}
.self{fill:#cbd2d9}
.mark{fill:#127fbf}
.band{fill:#f5f7fa}
@media (prefers-color-scheme:dark){
text{fill:#e4e7eb}
.soft{fill:#9aa5b1}
.page{fill:#14191f}
.room{fill:#1f2731;stroke:#7b8794}
.world{fill:#2b3541;stroke:#616e7c}
.value{fill:#4a3510;stroke:#f0b429}
.pure{fill:#0f2b3d;stroke:#40c3f7}
.writer{fill:#4a1a1d;stroke:#f29b9b}
.flow{stroke:#cbd2d9}
.side{stroke:#9aa5b1}
.tip{fill:#cbd2d9}
.grid{stroke:#3e4c59}
.self{fill:#3e4c59}
.mark{fill:#40c3f7}
.band{fill:#1a2129}
}
`

// drawFlow draws where data goes: read on the left, decided in the middle, written on the right.
func drawFlow(p pen) {
	p.text("title", margin, 50, "capmgr: one decision, one way for the data")
	p.text("soft", margin, 74, "Scheduling and scaling see one snapshot and answer with one plan. Everything that reads is on the left, everything that writes on the right.")

	// The two worlds outside, as bars above and below.
	p.box("world", margin, 100, 1120, 48, "Cloud", "Auto Scaling groups and their instances")
	p.box("room", margin, 180, 1120, 44, "pkg/cloud", "one small interface: observe groups, launch so many or none, terminate by name")
	p.box("world", margin, 610, 1120, 48, "Kubernetes API server", "nodes, pods, Queues, RayClusters, CapacityRequests")
	p.line("flow", 100, 148, 100, 178)
	p.line("flow", 1100, 180, 1100, 150)

	// Reading.
	p.box("room", margin, 290, 190, 130, "pkg/state", "the mirror: informers", "and listings in,", "a Snapshot out")
	p.box("room", margin+50, 466, 140, 84, "pkg/ray", "Ray's objects", "become gangs")
	p.line("flow", 100, 224, 100, 288)
	p.text("soft", 110, 262, "observe")
	p.line("flow", 64, 610, 64, 422)
	p.text("soft", 74, 590, "watch")
	p.line("side", 160, 466, 160, 422)

	// The values on either side of the decision.
	p.box("value", 272, 315, 136, 80, "Snapshot", "immutable,", "with its own Now")
	p.line("flow", 230, 355, 270, 355)
	p.box("value", 792, 315, 136, 80, "Plan", "steps and", "verdicts")
	p.line("flow", 408, 355, 446, 355)
	p.line("flow", 752, 355, 790, 355)

	// Deciding.
	p.put(`<rect class="pure" x="448" y="290" width="304" height="182" rx="8"/>`)
	p.text("soft", 464, 312, "pure: no I/O, no clock, no goroutine")
	p.box("room", 464, 326, 272, 62, "pkg/scheduler", "Decide: place, buy, explain")
	p.box("room", 464, 402, 272, 56, "pkg/scaling", "offers, bounds, releases")
	p.box("room", 448, 512, 304, 62, "pkg/fit", "does this pod fit that node")
	p.line("side", 600, 512, 600, 474)
	p.text("soft", 610, 498, "Fitter, one method")

	// Writing.
	p.box("writer", 970, 290, 190, 130, "pkg/execute", "the only writer:", "check again, note the", "intent, then act")
	p.line("flow", 928, 355, 968, 355)
	p.line("flow", 1100, 290, 1100, 226)
	p.text("soft", 1092, 254, "launch,", "end")
	p.text("soft", 1092, 272, "terminate", "end")
	p.line("flow", 1100, 420, 1100, 608)
	p.text("soft", 1092, 590, "bind, note, say why", "end")
	p.path("side", "M1000 290V244H170V288")
	p.text("soft", 600, 262, "what was done is assumed until the informers show it", "middle")

	// Those who look on.
	p.box("room", 792, 466, 190, 108, "cmd/capmgr", "plan prints the Plan,", "explain the verdict,", "run starts pkg/loop")
	p.line("side", 860, 395, 860, 464)
}

// cell is the side of one square of the table of imports.
const cell = 26

// drawImports draws a square for every pair of rooms, with a mark where the row imports the column.
func drawImports(p pen, top int, rows []row, imports map[string][]string) {
	const left = margin + 150
	p.text("section", margin, top, "Who imports whom")
	p.text("soft", margin, top+22, "A mark: the room of the row imports the room of the column. All marks are below the diagonal: nothing calls back up.")
	y := top + 130
	side := len(rows) * cell
	for k, r := range rows {
		line := y + k*cell
		if k%2 == 0 {
			p.put(`<rect class="band" x="%d" y="%d" width="%d" height="%d"/>`, margin, line, width-2*margin, cell)
		}
		p.text("mono", left-10, line+18, r.name, "end")
		p.text("soft", left+side+20, line+18, r.what)
		p.put(`<g transform="translate(%d %d) rotate(-45)"><text class="mono" x="0" y="0">%s</text></g>`,
			left+k*cell+cell/2+5, y-8, html.EscapeString(r.name))
	}
	for k := range len(rows) + 1 {
		p.put(`<path class="grid" d="M%d %dh%dM%d %dv%d"/>`, left, y+k*cell, side, left+k*cell, y, side)
	}
	for k, r := range rows {
		p.put(`<rect class="self" x="%d" y="%d" width="%d" height="%d"/>`, left+k*cell+1, y+k*cell+1, cell-2, cell-2)
		for c, column := range rows {
			if slices.Contains(imports[r.name], column.name) {
				p.put(`<circle class="mark" cx="%d" cy="%d" r="6"/>`, left+c*cell+cell/2, y+k*cell+cell/2)
			}
		}
	}
}

// pen writes elements, one a line, so that a changed picture has a readable diff.
type pen struct{ out io.Writer }

// put writes to a buffer, which keeps the first error for its Flush.
func (p pen) put(format string, args ...any) { _, _ = fmt.Fprintf(p.out, format+"\n", args...) }

// text writes one line with its baseline at y; anchor is "start", "middle" or "end".
func (p pen) text(class string, x, y int, s string, anchor ...string) {
	if len(anchor) == 0 {
		anchor = []string{"start"}
	}
	p.put(`<text class="%s" x="%d" y="%d" text-anchor="%s">%s</text>`, class, x, y, anchor[0], html.EscapeString(s))
}

// box draws a named box with its text centred in it: beside the name in a low box, below in others.
func (p pen) box(class string, x, y, w, h int, name string, lines ...string) {
	p.put(`<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="8"/>`, class, x, y, w, h)
	if h < 50 {
		p.put(`<text x="%d" y="%d" text-anchor="middle"><tspan class="name">%s</tspan><tspan class="soft" dx="14">%s</tspan></text>`,
			x+w/2, y+h/2+5, html.EscapeString(name), html.EscapeString(strings.Join(lines, " ")))
		return
	}
	const step = 20
	at := y + h/2 - step*len(lines)/2 + 5
	p.text("name", x+w/2, at, name, "middle")
	for _, l := range lines {
		at += step
		p.text("soft", x+w/2, at, l, "middle")
	}
}

func (p pen) line(class string, x1, y1, x2, y2 int) {
	p.path(class, fmt.Sprintf("M%d %dL%d %d", x1, y1, x2, y2))
}

func (p pen) path(class, d string) { p.put(`<path class="%s" d="%s"/>`, class, d) }
