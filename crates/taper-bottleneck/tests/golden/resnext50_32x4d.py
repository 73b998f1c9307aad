"""torchvision's ResNeXt-50, 32 groups of 4 channels: names, logits and a step of training."""

import golden
import networks

golden.write(__file__, [networks.case("resnext50_32x4d")])
