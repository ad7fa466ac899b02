/** What the pages of a training run need beyond the common style. */
export const RL_STYLE = `
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
.charts figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .6rem .25rem .25rem; } .charts figcaption { padding: 0 .6rem; }
.charts .chart { background: none; } .charts .chart svg { width: 100%; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem .9rem; margin: .25rem 0; padding: 0; list-style: none; font-size: .85rem; }
.legend i { display: inline-block; width: .85em; height: .85em; border-radius: 2px; margin-right: .35em; vertical-align: -.08em; } .legend i.faint { opacity: .7; } .legend i.band { opacity: .25; } .legend i.dots { border-radius: 50%; } .legend i.faint, .legend i.line, .legend i.bold, .legend i.dashed { height: .25em; vertical-align: .18em; } .legend b { margin-right: .3em; }
td .legend { min-width: 17rem; margin: 0; } td { white-space: nowrap; } .scroll + .charts, .scroll + .scroll { margin-top: 1rem; }
.gantt { border: 1px solid var(--line); border-radius: 6px; padding: .25rem; } .gantt svg { display: block; width: 100%; min-width: 720px; height: auto; }
.gantt text { fill: var(--soft); font: 10px system-ui, sans-serif; } .gantt .name { fill: var(--ink); font-size: 12px; } .gantt .mark { font-size: 10px; }
.gantt .grid { stroke: var(--line); stroke-width: 1; stroke-dasharray: 3 3; }
.warning { border-left: 4px solid #e0a526; background: var(--panel); padding: .5rem .8rem; border-radius: 0 6px 6px 0; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; } .turn + .turn { border-top: 1px solid var(--line); } .turn h4 { font-size: .8rem; margin: .5rem 0 .2rem; color: var(--soft); font-weight: 600; } .turn p { margin: .35rem 0; } .turn pre { margin: .35rem 0; }
pre.act { border-left: 3px solid #2f6fd0; } pre.seen { border-left: 3px solid #3f9e94; } .cards b { overflow-wrap: anywhere; }
`;
