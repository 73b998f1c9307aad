"""torchvision's ResNet-18: names, logits and a step of training."""

import golden
import networks

golden.write(__file__, [networks.case("resnet18", digits=13)])
