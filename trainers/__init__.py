"""Thin SFT, DPO, reward and RLVR trainers over mixtures. Imports `tulu_data`, never the other way round."""
