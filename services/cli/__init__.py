"""The command line: one command per service, everything on one machine, and the demo.

It starts services as processes of their own and talks to them over the broker; it imports none of them.
"""
