"""The commands behind ``lohovla``: one module each, with a ``run(config)``; nothing else is loaded."""
