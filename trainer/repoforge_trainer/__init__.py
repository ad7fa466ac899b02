"""RepoForge's trainer: a thin service over torch, transformers and peft that turns graded trajectories into policy versions."""
