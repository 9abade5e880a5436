"""Talking to policies: `models` opens them, `generate` makes one answer, `session` keeps the conversation.

Those three know no terminal; `lines` is what a typed line means, `terminal` and `piped` are the two faces.
"""
