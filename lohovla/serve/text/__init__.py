"""The text server: OpenAI's completions and chat over the engine of block-diffusion decoding.

Read it in this order: ``schema`` (what is asked), ``service`` (the models and what a request means to the engine),
``worker`` (the thread that decodes), ``spoken`` and ``answers`` (texts and their JSON), ``app`` (the routes),
``server`` (its life).
"""
