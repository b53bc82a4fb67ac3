"""Training of text models: autoregressive and masked-diffusion from one set of weights, and asymmetric distillation."""
