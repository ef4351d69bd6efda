"""Scenarios from their files to verdicts and reports on a running lab.

Reading order: `performing` (one scenario once), `series` (several, none inheriting the damage of another),
`leaks` (no secret of the lab in what they leave).
"""
