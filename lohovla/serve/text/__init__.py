"""The text server: OpenAI's completions and chat over the engine of block-diffusion decoding.

Read it in this order: ``api_schema`` (what is asked), ``text_service`` (the models and what a request means to the
engine), ``engine_thread`` (the thread that decodes), ``stream_detokenizer`` and ``responses`` (texts and their JSON),
``app`` (the routes), ``text_server`` (its life), ``connection_limits`` and ``request_log`` (who may connect, and what
is noted).
"""
