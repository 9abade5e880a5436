"""Talking to policies: `voices` opens them, `speech` makes one answer, `session` keeps the conversation.

Those three know no terminal; `lines` is what a typed line means, `terminal` and `piped` are the two faces.
"""
