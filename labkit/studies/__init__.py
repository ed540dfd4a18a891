"""Many runs: the study file, and what makes its runs, here or on a cluster."""
