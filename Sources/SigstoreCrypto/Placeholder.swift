import InToto
