"""What a trained policy looks at, what its geometry features hold, how alike its anchor is under both prompts.

Diagnostics of the paper as pictures and numbers; each command writes a folder that ``thinkvla report`` shows.
"""
