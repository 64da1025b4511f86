"""Pictures of workflows and runs as SVG, made in pure Python: the command line prints them, and pages may show them.

:func:`.graph.graph_svg` draws a graph, :func:`.timeline.timeline_svg` what has happened in a run, and
:func:`.stylesheet.stylesheet` is what gives both their colours, light and dark.
"""
