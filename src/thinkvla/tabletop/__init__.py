"""The embedded world: a table, a robot arm, tasks, a scripted expert and demonstrations, on MuJoCo."""
