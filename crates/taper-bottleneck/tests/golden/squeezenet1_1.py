"""torchvision's SqueezeNet 1.1: names, logits and a step of training."""

import golden
import networks

golden.write(__file__, [networks.case("squeezenet1_1")])
