"""How each peer runs SFT, then DPO from the SFT adapter, as its own documentation describes it."""
