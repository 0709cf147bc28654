"""Vocabularies that people ask questions in: CLEVR's, COCO's with relations of place, VRD's, and one like VG's."""

from __future__ import annotations

from dsg_tf.data import clevr_classes
from dsg_tf.data.scene import Vocabulary


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(","))


_COCO = (
    """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv,
    laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
    scissors, teddy bear, hair drier, toothbrush
""",
    """
    left of, right of, above, below, in, around
""",
)

_VRD = (
    """
    person, sky, building, truck, bus, table, shirt, chair, car, train, glasses, tree, boat, hat, trees, grass,
    pants, road, motorcycle, jacket, monitor, wheel, umbrella, plate, bike, clock, bag, shoe, laptop, desk, cabinet,
    counter, bench, shoes, tower, bottle, helmet, stove, lamp, coat, bed, dog, mountain, horse, plane, roof,
    skateboard, traffic light, bush, phone, airplane, sofa, cup, sink, shelf, box, van, hand, shorts, post, jeans,
    cat, sunglasses, bowl, computer, pillow, pizza, basket, elephant, kite, sand, keyboard, plant, can, vase,
    refrigerator, cart, skis, pot, surfboard, paper, mouse, trash can, cone, camera, ball, bear, giraffe, tie,
    luggage, faucet, hydrant, snowboard, oven, engine, watch, face, street, ramp, suitcase
""",
    """
    on, wear, has, next to, sleep next to, sit next to, stand next to, park next, walk next to, above, behind, stand
    behind, sit behind, park behind, in the front of, under, stand under, sit under, near, walk to, walk, walk past,
    in, below, beside, walk beside, over, hold, by, beneath, with, on the top of, on the left of, on the right of,
    sit on, ride, carry, look, stand on, use, at, attach to, cover, touch, watch, against, inside, adjacent to,
    across, contain, drive, drive on, taller than, eat, park on, lying on, pull, talk, lean on, fly, face, play
    with, sleep on, outside of, rest on, follow, hit, feed, kick, skate on
""",
)

_VG = (
    """
    man, woman, boy, girl, person, people, shirt, jacket, hat, tree, trees, leaves, grass, sky, building, window,
    door, wall, car, bus, street, sidewalk, sign, pole, light, street light, table, chair, plate, food, pizza,
    horse, dog, cat, elephant, giraffe, zebra, head, hand, hair, ear, tail, leg, wheel, snow, skis, snowboard,
    beach, ocean, water, wave, surfboard, umbrella, bag, phone, laptop, fence, bench, clock, train, track, plane,
    bird
""",
    """
    on, in, of, has, with, wearing, wears, holding, riding, sitting on, standing on, standing in, walking on, next
    to, near, behind, in front of, under, above, over, on top of, beside, by, at, parked on, hanging on, attached
    to, covered in, carrying, eating, looking at, watching, using, to the left of, to the right of, inside, flying
    in, made of, belonging to, from
""",
)

BY_NAME = {
    "clevr": clevr_classes.VOCABULARY,
    "coco": Vocabulary(*map(_names, _COCO)),
    "vrd": Vocabulary(*map(_names, _VRD)),
    "vg": Vocabulary(*map(_names, _VG)),
}
# In the form that Visual Genome publishes.
VG_OBJECT_ALIAS = """man,guy,gentleman,men
woman,lady
street light,streetlight, lamp post
bench,park bench
"""
VG_RELATIONSHIP_ALIAS = """on,on the,is on
has,have,has a
next to,adjacent to,next
"""
