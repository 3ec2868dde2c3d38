"""Vision-language models behind the method's ``Backbone`` protocol."""
