"""torchvision's MobileNetV2: names, logits and a step of training."""

import golden
import networks

golden.write(__file__, [networks.case("mobilenet_v2", norm_bias=(0.5, 1.0))])
