"""Files of a run: atomic writes, hashes, fingerprints, manifest, event log, lock."""
