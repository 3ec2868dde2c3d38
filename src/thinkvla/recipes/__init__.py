"""Complete training configurations as Python functions, and how shipped files were made.

Each recipe's header says what to expect of it, what it costs and the exact command.
"""
