"""How far each way to run items goes: what is measured, the model that is fitted to it, and the page made of that."""
