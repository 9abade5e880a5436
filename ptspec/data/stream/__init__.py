"""Rows read during training: in a reproducible order, resumable anywhere, in constant memory."""
