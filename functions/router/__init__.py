"""The router: one function that decides which model version answers, and asks it.

A zip Lambda behind API Gateway (`handler`), an ASGI app for everything else (`app.create_app`).
It never imports the runtime or the registrar, and never looks into a request's body.
"""
