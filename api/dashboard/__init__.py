"""The dashboard: pages for people, rendered here, that work without a script.

A page is a function of a request and its session, under `page.page`, that returns `page.render(…)`; `routes` lists
them, `words` is what templates say things with.
"""
