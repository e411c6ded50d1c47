"""Goldens at ``/invocations`` as MLflow's scoring clients send them."""

from __future__ import annotations

from modelport.goldens.form import Form

FORMS: tuple[Form, ...] = ()
