// English for `bench`: prose, dialogue, numbers, code and mathematics, with words common and rare.
#pragma once

#include <string_view>

namespace pensee::cli {

inline constexpr std::string_view kBenchText = R"(
The ferry left the island shortly after six, when the fog had lifted enough for the pilot to see
the two beacons on the breakwater. Nobody spoke. A crate of lemons had burst near the gangway, and
the smell of them mixed with diesel, wet rope and the coffee that somebody had brewed in the
galley. "You'll be back by Thursday," Marguerite had said, and he'd nodded, although they both
knew that the archive in Trieste would keep him for a fortnight at least; it always did.

Suppose that a tank holds 1,250 litres and that water flows in at 17.5 litres a minute. How long
does it take until the tank is four fifths full? First, four fifths of 1,250 is 1,000. Then 1,000
divided by 17.5 is about 57.14, so it takes a little more than 57 minutes. Let me check this: 57 *
17.5 = 997.5, which falls short by 2.5 litres, and 2.5 / 17.5 is one seventh of a minute. Yes,
that's consistent.

Photosynthesis converts carbon dioxide and water into glucose and oxygen. Chlorophyll absorbs
mostly red and blue light; the green that it reflects gives foliage its colour. In the thylakoid
membranes the energy drives an electron transport chain, whose proton gradient powers ATP
synthase. The Calvin cycle, which needs no light directly, then fixes carbon with the enzyme
ribulose-1,5-bisphosphate carboxylase, better known as RuBisCO and probably the most abundant
protein on Earth.

Wait, is that right? I shouldn't assume that the sequence converges. If $a_n = \frac{1}{n}
\sin(n)$, then $|a_n| \le \frac{1}{n}$, hence $a_n \to 0$ by the squeeze theorem. For $b_n =
\sin(n)$, however, there isn't any limit: choose subsequences near $\pi/2 + 2\pi k$ and $3\pi/2 +
2\pi k$.

    def median(values: list[float]) -> float:
        """Returns the middle value, or the mean of the two middle ones."""
        ordered = sorted(values)
        half = len(ordered) // 2
        if len(ordered) % 2 == 1:
            return ordered[half]
        return (ordered[half - 1] + ordered[half]) / 2

The function above sorts first, which costs O(n log n); a selection algorithm such as quickselect
would do it in linear time on average. Don't forget the empty list: ordered[-1] raises an
IndexError there.

Minutes of the meeting of 14 March 2023. Present: J. Okonkwo (chair), Dr. S. Lindqvist, P.
Ramachandran, T. O'Brien. Apologies: none. 1. The minutes of the previous meeting were approved.
2. The treasurer reported a surplus of $48,310.72, chiefly owing to postponed maintenance. 3. It
was resolved, by three votes to one, to replace the boiler before winter; Ms. Ramachandran asked
that her dissent be recorded.

Once the glaciers retreated, birch and willow colonised the moraine, followed some centuries later
by spruce. Pollen from the sediment cores shows the succession clearly, and radiocarbon dates
place its beginning around 9,700 BP. Charcoal layers suggest fires every 80-120 years. What caused
them remains disputed: lightning is the obvious candidate, yet the earliest hearths in the valley
are barely younger.

Dear Sir or Madam, I am writing to complain about the toaster (model KX-204B) that I bought on
your website last month. It burns bread on one side only, no matter which setting I choose, and
yesterday it tripped the circuit breaker twice! I'd like either a refund or a replacement. Kind
regards, H. Whitcombe
)";

}  // namespace pensee::cli
